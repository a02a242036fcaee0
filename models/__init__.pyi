from .graph import NodeClassifier as NodeClassifier
from .graph import NodeSequenceClassifier as NodeSequenceClassifier
from .palindrome import PalindromeClassifier as PalindromeClassifier
from .palindrome import PathGraphClassifier as PathGraphClassifier
from .spread import SpreadClassifier as SpreadClassifier
from .text import TextModel as TextModel
from .transducer import Transducer as Transducer
