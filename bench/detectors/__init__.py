"""Methods that score images, and the networks behind them."""
