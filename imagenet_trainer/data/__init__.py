"""Everything that knows a shard, an image, an order or an augmentation."""
