"""Importers: each turns one kind of source into a `ToolCatalog`."""
