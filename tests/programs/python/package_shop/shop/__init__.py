# SPDX-License-Identifier: Apache-2.0
from .cart import Cart, CartError

__version__ = "1.4"
__all__ = ["Cart", "CartError"]
