from .books import BookDataModule as BookDataModule
from .graphs import GraphDataModule as GraphDataModule
from .palindromes import PalindromeDataModule as PalindromeDataModule
from .spread import SpreadDataModule as SpreadDataModule
from .strings import StringDataModule as StringDataModule
