/* Tensors: element types, shapes, views and shared storage. */
#include "support/test.h"

#include "tensor/dtype.h"

#include <math.h>
#include <string.h>

static void slices_share_their_storage(void **state) {
  (void)state;
  mica_tensor *t, *s, *r;
  assert_int_equal(mica_tensor_create(MICA_F32, MICA_SHAPE(4, 3), &t), MICA_OK);
  for (int i = 0; i < 12; i++) mica_tensor_set(t, i, i);
  assert_int_equal(mica_tensor_slice(t, 1, 3, &s), MICA_OK);
  assert_int_equal(mica_tensor_reshape(s, MICA_SHAPE(6), &r), MICA_OK);
  mica_tensor_free(s);
  mica_tensor_free(t);
  assert_int_equal(mica_tensor_dim(r, -1), 6);
  for (int i = 0; i < 6; i++) assert_true(mica_tensor_get(r, i) == 3 + i);
  mica_tensor_free(r);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(slices_share_their_storage),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
