// Lets tables.css show each row of a table as a card on a narrow screen: every cell gets its column's heading.
// Without JavaScript, a wide table scrolls inside its own box.
for (const table of document.querySelectorAll("article table:not([class])")) {
  const headings = [...table.querySelectorAll("thead th")].map((heading) => heading.textContent.trim());
  for (const row of table.querySelectorAll("tbody tr")) {
    // The first cell names the row, so it needs no heading.
    [...row.cells].slice(1).forEach((cell, index) => {
      if (headings[index + 1]) cell.dataset.label = headings[index + 1];
    });
  }
  table.dataset.stacked = "";
}
