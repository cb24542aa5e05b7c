"""Data that ships with the library; NOTICE says where it comes from."""
