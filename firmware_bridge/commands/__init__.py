"""The commands `gearshift board` and `gearshift cpx`."""
