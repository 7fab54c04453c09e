"""The joint optimum of a layer, from its dual: prices for the devices' time."""
