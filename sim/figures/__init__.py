"""Everything that derives from networks and flights, rebuilt in order and known to be current."""
