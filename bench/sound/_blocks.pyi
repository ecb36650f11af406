from bench.sound._blocks_interpreted import Blocks as Blocks
from bench.sound._blocks_interpreted import continue_sounds as continue_sounds
