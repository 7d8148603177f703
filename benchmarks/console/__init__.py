"""The console with much to show: a busy installation, and how long its pages take."""
