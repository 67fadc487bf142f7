"""What is pending, late, lost or broken: reports of hours, the state now, health as metrics, and the doctor.

Add a figure or a warning here; what Dagster, pages and the command line show of it belongs to them.
"""
