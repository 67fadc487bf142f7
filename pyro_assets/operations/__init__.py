"""What faces start: several rooms put together over an `App`. Work itself stands in the rooms."""
