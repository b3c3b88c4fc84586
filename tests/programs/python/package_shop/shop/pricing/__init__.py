# SPDX-License-Identifier: Apache-2.0
def identity(item):
    return item.count * item.cents
