"""What the size of an operation's output depends on, for the operations of TensorFlow that `size_analysis` knows.

Operations that are in none of these tables may allocate anything, or take any time. Inputs are counted from 0.
Definitions: tensorflow/core/ops/*.cc.
"""

from __future__ import annotations


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


FIXED = _names("""
    Const VarHandleOp Variable VariableV2 HashTable HashTableV2 MutableHashTable MutableHashTableV2
    AnonymousHashTable AnonymousMutableHashTable
""")
"""Constants, variables and tables: the same for all requests."""

INPUTS = frozenset(("Placeholder", "PlaceholderWithDefault"))

SHAPES = frozenset(("Shape", "ShapeN", "Size", "Rank", "TensorListLength"))
"""The values of the output are sizes of the input."""

PLAIN = _names("""
    Abs AccumulateNV2 Acos Acosh Add AddN AddV2 AdjustContrastv2 AdjustSaturation All Angle Any ApproximateEqual
    ArgMax ArgMin AsString Asin Asinh Assert Atan Atan2 Atanh AvgPool AvgPool3D BatchMatMul BatchMatMulV2
    BatchMatMulV3 BiasAdd BiasAddV1 Bitcast BitwiseAnd BitwiseOr BitwiseXor BroadcastArgs Bucketize Cast Ceil
    CheckNumerics CheckNumericsV2 Cholesky ClipByValue Complex ComplexAbs Concat ConcatOffset ConcatV2 Conj
    ConjugateTranspose Conv2D Conv3D Cos Cosh Cross Cumprod Cumsum CumulativeLogsumexp DataFormatDimMap
    DataFormatVecPermute DepthToSpace DepthwiseConv2dNative Diag DiagPart Div DivNoNan Einsum Elu EnsureShape
    EncodeBase64 Equal Erf Erfc Erfinv EuclideanNorm Exp ExpandDims Expm1 ExtractImagePatches
    FakeQuantWithMinMaxArgs FakeQuantWithMinMaxVars Floor FloorDiv FloorMod FusedBatchNorm FusedBatchNormV2
    FusedBatchNormV3 Gather GatherNd GatherV2 Greater GreaterEqual HSVToRGB Identity IdentityN Imag InTopK InTopKV2
    Inv Invert InvertPermutation IsFinite IsInf IsNan L2Loss LRN LeakyRelu LeftShift Less LessEqual Log Log1p
    LogSoftmax LogicalAnd LogicalNot LogicalOr LookupTableFind LookupTableFindV2 LookupTableSize LookupTableSizeV2
    LowerBound MatMul MatrixBandPart MatrixDeterminant MatrixDiag MatrixDiagPart MatrixInverse MatrixSetDiag
    MatrixSetDiagV2 MatrixSetDiagV3 MatrixSolve MatrixTriangularSolve Max MaxPool Maximum Mean Merge Min Minimum Mod
    Mul MulNoNan Neg NoOp NotEqual OnesLike Pack ParallelConcat Pow PreventGradient Prod QuantizeAndDequantizeV2
    QuantizeAndDequantizeV4 RGBToHSV ReadVariableOp Real RealDiv Reciprocal ReduceJoin RegexFullMatch Relu Relu6
    ResourceGather ResourceGatherNd Reverse ReverseSequence ReverseV2 RightShift Rint Roll Round Rsqrt Select
    SelectV2 Selu Sigmoid Sign Sin Sinh Snapshot Softmax Softplus Softsign SpaceToDepth Split Sqrt Square
    SquaredDifference Squeeze StatelessRandomGetAlg StatelessRandomGetKeyCounter StaticRegexFullMatch
    StaticRegexReplace StopGradient StringJoin StringLength StringLower StringStrip StringToHashBucket
    StringToHashBucketFast StringToHashBucketStrong StringToNumber StringUpper Sub Substr Sum Switch Tan Tanh
    TensorListElementShape TensorListFromTensor TensorListGetItem TensorListPushBack TensorListStack Transpose
    TruncateDiv TruncateMod Unpack UpperBound VarIsInitializedOp VariableShape Xdivy Xlog1py Xlogy ZerosLike
""")
"""The shapes of the inputs alone decide about the output's size and the time.

Not among them are operations that ended the process, or took for ever, in a run with inputs of odd ranks, sizes or values
(AdjustHue, Dequantize, MaxPool3D, TensorScatterUpdate, …). Convolutions do too, but only with other ranks, which
requests cannot have (`Session.signature`).
"""

SIZED = {
    "BatchToSpaceND": (1, 2),
    "Bincount": (1,),
    "BroadcastTo": (1,),
    "Conv2DBackpropInput": (0,),
    "Conv3DBackpropInputV2": (0,),
    "DecodePaddedRaw": (1,),
    "DenseBincount": (1,),
    "DynamicStitch": (0,),  # and further ones; see `size_analysis`
    "Empty": (0,),
    "Fill": (0,),
    "LinSpace": (2,),
    "MatrixDiagPartV2": (1,),
    "MatrixDiagPartV3": (1,),
    "MatrixDiagV2": (1, 2, 3),
    "MatrixDiagV3": (1, 2, 3),
    "MirrorPad": (1,),
    "Multinomial": (1,),
    "OneHot": (1,),
    "Pad": (1,),
    "PadV2": (1,),
    "ParallelDynamicStitch": (0,),  # and further ones
    "RaggedBincount": (2,),
    "RaggedTensorToTensor": (0,),
    "RandomStandardNormal": (0,),
    "RandomUniform": (0,),
    "RandomUniformInt": (0,),
    "Range": (0, 1, 2),
    "RegexReplace": (1, 2),
    "ResizeArea": (1,),
    "ResizeBicubic": (1,),
    "ResizeBilinear": (1,),
    "ResizeNearestNeighbor": (1,),
    "SegmentMax": (1,),
    "SegmentMean": (1,),
    "SegmentMin": (1,),
    "SegmentProd": (1,),
    "SegmentSum": (1,),
    "SpaceToBatchND": (1, 2),
    "SparseSegmentMean": (2,),
    "SparseSegmentSqrtN": (2,),
    "SparseSegmentSum": (2,),
    "SparseToDense": (1,),
    "StatelessRandomNormal": (0,),
    "StatelessRandomNormalV2": (0,),
    "StatelessRandomUniform": (0,),
    "StatelessRandomUniformInt": (0,),
    "StatelessRandomUniformIntV2": (0,),
    "StatelessRandomUniformV2": (0,),
    "StringSplit": (1,),
    "StringSplitV2": (1,),
    "TensorListReserve": (0, 1),
    "TensorListSetItem": (1,),  # it may resize the list
    "Tile": (1,),
    "TruncatedNormal": (0,),
    "UnsortedSegmentMax": (2,),
    "UnsortedSegmentMin": (2,),
    "UnsortedSegmentProd": (2,),
    "UnsortedSegmentSum": (2,),
}
"""The values of these inputs decide about the output's size."""

SHRINKING = {
    "Reshape": (1,),
    "Slice": (1, 2),
    "SplitV": (1,),
    "StridedSlice": (1, 2, 3),
    "TopKV2": (1,),
    "TensorListGather": (1,),
}
"""The values of these inputs decide about the output's shape, but it has no more values than the first input."""

COUNTED = _names("""
    DecodeRaw DynamicPartition ListDiff ParseExample ParseExampleV2 RaggedBincount RaggedTensorToTensor StringNGrams StringSplit
    StringSplitV2 UnicodeDecode UnicodeDecodeWithOffsets Unique UniqueV2 UniqueWithCounts UniqueWithCountsV2 Where
""")
"""The output's size depends on the contents of the inputs, within what their bytes can hold: it may be the number of words."""

REPEATING = _names("""
    BroadcastTo Fill Gather GatherNd GatherV2 Pack Select SelectV2 StringJoin Tile
""")
"""Operations that may copy one string for many values of the output."""

CAST_FROM_BOOL = "Cast from bool"  # a Cast whose result is 0 or 1

ARITHMETIC = _names("""
    Add AddN AddV2 All Any ApproximateEqual Bincount BroadcastTo Cast Concat ConcatV2 Cumsum DenseBincount Equal
    ExpandDims Fill FloorDiv GatherV2 Greater GreaterEqual Identity IdentityN IsFinite IsInf IsNan Less LessEqual
    LogicalAnd LogicalNot LogicalOr Max Maximum Min Minimum Mul NotEqual Pack Range Reshape Slice Split SplitV Squeeze
    StridedSlice Sub Sum Tile Transpose Unpack
""")
"""If the values of all inputs are bounded by the size of the request, the values of the output are, too."""

BOUNDED = _names("""
    ArgMax ArgMin InTopK InTopKV2 LowerBound StringLength StringSplit StringSplitV2 UpperBound Where
""") | {CAST_FROM_BOOL}
"""The output has lengths, counts or positions (StringSplit: and strings, which are no sizes)."""

RANDOM = frozenset(name for name in (*SIZED, *PLAIN) if "Random" in name or "Normal" in name or name == "Multinomial")
CALLS = {"PartitionedCall": "f", "StatefulPartitionedCall": "f"}
BRANCHES = {
    "If": ("then_branch", "else_branch"),
    "StatelessIf": ("then_branch", "else_branch"),
    "Case": ("branches",),
    "StatelessCase": ("branches",),
}
LOOPS = frozenset(("While", "StatelessWhile"))
