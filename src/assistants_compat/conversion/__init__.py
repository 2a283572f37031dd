"""From a recording of Assistants traffic to one of the Responses API that shows the same test the same answers.

The old requests are played through the shim itself, over an upstream that is made from the old answers; what is sent to
it, and what it says, is the new recording.  What the shim answered is compared with what was recorded, field by field.
"""
