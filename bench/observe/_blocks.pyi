from bench.observe._blocks_interpreted import Blocks as Blocks
from bench.observe._blocks_interpreted import continue_sounds as continue_sounds
