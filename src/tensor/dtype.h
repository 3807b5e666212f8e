/* Element types: conversion of single elements and of runs. */
#ifndef MICA_TENSOR_DTYPE_H
#define MICA_TENSOR_DTYPE_H

#include <mica/tensor.h>

bool mica_dtype_valid(mica_dtype dtype);

/* bfloat16 and IEEE half to and from wider types; narrowing rounds to even, NaN stays NaN. */
float mica_bf16_to_f32(uint16_t x);
float mica_f16_to_f32(uint16_t x);
uint16_t mica_f32_to_bf16(float x);
uint16_t mica_f32_to_f16(float x);
uint16_t mica_f64_to_bf16(double x);
uint16_t mica_f64_to_f16(double x);

/* Convert n elements; the runs must not overlap unless the types are the same. */
void mica_convert(void *to, mica_dtype to_type, const void *from, mica_dtype from_type, size_t n);

#endif
