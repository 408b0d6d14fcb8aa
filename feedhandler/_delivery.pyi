from feedhandler._stages import Stages

class Delivery(Stages):
    """What a Shard does with what its arbiters hand out."""
