//! What every Weir process needs: configuration, logs, metrics, health, clock, ordered shutdown.
