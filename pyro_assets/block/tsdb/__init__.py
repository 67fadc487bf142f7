"""The TSDB index of a dataset or of a tenant: which series there are and which rows belong to them.

A reader and a writer of the same structure stand side by side; meaning of labels beyond their order does not belong
here (FORMAT.md, 5).
"""
