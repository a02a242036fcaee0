"""Studies of trained networks: plain commands, which import no Lightning and start fast."""
