"""A run's rows and histograms as files for other tools: CSV, Parquet, JSON lines, HdrHistogram logs."""
