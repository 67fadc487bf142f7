"""The profiles section, a Parquet file: footer, pages, rows and schema, read and written without a library.

Measured against pyarrow and Polars in performance.md; hostile footers are refused by name.
"""
