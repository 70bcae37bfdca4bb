"""Adding up what silos hold so that nobody sees a single part: keys, masks, shares, messages, and the protocol on top. No network."""
