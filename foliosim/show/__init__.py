"""Pictures of address spaces."""
