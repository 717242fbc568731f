"""What a flight tells its surroundings: status line, systemd, Prometheus, signals."""
