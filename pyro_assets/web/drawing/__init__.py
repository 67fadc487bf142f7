"""Pictures as SVG, made on the server: charts, flame graphs and heat maps."""
