"""The control plane of a rehearsal: AWS's interfaces, the deployed functions, and the state machine that calls them."""
