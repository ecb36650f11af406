from bench.observe._blocks_interpreted import Blocks as Blocks
