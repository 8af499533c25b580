# The lab is told by its name, and sluice is on the path.
[ -n "$SLUICE_LAB" ] || exit 1
sluice --lab "$SLUICE_LAB" place
