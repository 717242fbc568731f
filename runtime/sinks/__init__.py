"""The sinks that ship with Gearshift; `gearshift.runtime.sinks.sink` says what a sink is."""
