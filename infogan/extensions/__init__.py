"""What the paper does not have, a file each."""
