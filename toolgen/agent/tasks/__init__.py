"""Tasks whose success is seen in the state they leave, with a reference that was executed. Know no models."""
