// SPDX-License-Identifier: Apache-2.0
//
// src/api/openapi.yaml as bytes; tools/embed makes the definitions.
#ifndef CSB_API_OPENAPI_H
#define CSB_API_OPENAPI_H

#include <stddef.h>

extern const unsigned char openapi_yaml[];
extern const size_t openapi_yaml_len;

#endif
