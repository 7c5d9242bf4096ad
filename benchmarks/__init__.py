"""Speed claims as commands: ``python -m benchmarks`` measures every one of them beside a floor or a peer."""
