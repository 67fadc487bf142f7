"""Dagster: partitions, assets, checks, sensors, jobs; shells over the rooms below.

Add what people see, start and schedule; what is done to bytes and rows belongs below, where nothing imports Dagster.
"""
