/* A library with one TensorFlow operation of our own, TfsctlTriple: three times a float tensor.
 * The functions are those of tensorflow/c/ops.h, kernels.h and tf_tensor.h, declared here because those are C++. */
#include <stddef.h>
#include <stdint.h>

void *TF_NewStatus(void);
void TF_DeleteStatus(void *status);
void *TF_NewOpDefinitionBuilder(const char *name);
void TF_OpDefinitionBuilderAddInput(void *builder, const char *spec);
void TF_OpDefinitionBuilderAddOutput(void *builder, const char *spec);
void TF_OpDefinitionBuilderSetShapeInferenceFunction(void *builder, void (*shape)(void *, void *));
void TF_ShapeInferenceContextSetUnknownShape(void *context, void *status);
void TF_RegisterOpDefinition(void *builder, void *status);
void *TF_NewKernelBuilder(const char *op, const char *device, void *(*create)(void *), void (*compute)(void *, void *),
                          void (*destroy)(void *));
void TF_RegisterKernelBuilder(const char *name, void *builder, void *status);
void TF_GetInput(void *context, int index, void **tensor, void *status);
void *TF_AllocateOutput(void *context, int index, int dtype, const int64_t *dims, int rank, size_t bytes, void *status);
int TF_NumDims(void *tensor);
int64_t TF_Dim(void *tensor, int index);
void *TF_TensorData(void *tensor);
size_t TF_TensorByteSize(void *tensor);
void TF_DeleteTensor(void *tensor);

enum { MAX_RANK = 8, DT_FLOAT = 1 };

static void triple(void *kernel, void *context) {
  (void)kernel;
  void *status = TF_NewStatus(), *input = NULL;
  TF_GetInput(context, 0, &input, status);
  int64_t dims[MAX_RANK];
  const int rank = TF_NumDims(input);
  for (int i = 0; i < rank; i++) dims[i] = TF_Dim(input, i);
  const size_t bytes = TF_TensorByteSize(input);
  void *output = TF_AllocateOutput(context, 0, DT_FLOAT, dims, rank, bytes, status);
  const float *from = TF_TensorData(input);
  float *to = TF_TensorData(output);
  for (size_t i = 0; i < bytes / sizeof(float); i++) to[i] = 3 * from[i];
  TF_DeleteTensor(input);
  TF_DeleteTensor(output);
  TF_DeleteStatus(status);
}

__attribute__((constructor)) static void register_all(void) {
  void *status = TF_NewStatus(), *op = TF_NewOpDefinitionBuilder("TfsctlTriple");
  TF_OpDefinitionBuilderAddInput(op, "x: float");
  TF_OpDefinitionBuilderAddOutput(op, "y: float");
  TF_OpDefinitionBuilderSetShapeInferenceFunction(op, &TF_ShapeInferenceContextSetUnknownShape);
  TF_RegisterOpDefinition(op, status);
  TF_RegisterKernelBuilder("TfsctlTriple", TF_NewKernelBuilder("TfsctlTriple", "CPU", NULL, &triple, NULL), status);
  TF_DeleteStatus(status);
}
