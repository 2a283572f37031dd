import csv

import matplotlib.pyplot as plt

sales = {"north": 120, "south": 80, "east": 150, "west": 95}

with open("sales_by_region.csv", "w", newline="") as file:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["region", "sales"])
    writer.writerows(sales.items())

figure, axes = plt.subplots(figsize=(6, 4))
bars = axes.bar(list(sales), list(sales.values()), color="#1f77b4")
axes.bar_label(bars, padding=2)
axes.margins(y=0.12)
axes.set_title("Sales by region")
axes.set_xlabel("Region")
axes.set_ylabel("Sales (units)")
axes.spines[["top", "right"]].set_visible(False)
figure.tight_layout()
figure.savefig("sales_by_region.png")
plt.show()
print(sum(sales.values()))
