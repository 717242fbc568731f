"""The sinks that ship with Gearshift; `gearshift.runtime.sink` says what a sink is."""
