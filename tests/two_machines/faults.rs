//! Everything that goes wrong between a machine and the server.
