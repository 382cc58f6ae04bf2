"""Takes bookings for a hotel and confirms them in the background."""
