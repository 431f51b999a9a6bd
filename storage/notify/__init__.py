"""Tell somebody that the product is unwell: events, and where they are sent."""
