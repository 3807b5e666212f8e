/* Published networks that load into mica's architectures.
 *
 * The first eight digits of each sha256 are in the publisher's own file name. Sizes and sums of
 * the CIFAR networks were taken from the files; those of the ImageNet ones are the figures that
 * several independent users of the files have published.
 */
#include "cli/catalogue.h"

#define IMAGENET_PICTURES                                                                          \
  .side = 224, .channels = 3, .crop = 0.875, .mean = {0.485, 0.456, 0.406},                        \
  .deviation = {0.229, 0.224, 0.225}, .classes = imagenet_classes, .n_classes = 1000

#define TORCHVISION(depth, hash, size, sum, error)                                                 \
  {                                                                                                \
    .name = "resnet" #depth, .summary = "ResNet-" #depth " on ImageNet, " error " top-1",          \
    .page = "https://pytorch.org/vision/stable/models/resnet.html",                                \
    .licence = "BSD-3-Clause (torchvision); trained on ImageNet, whose terms are for research",    \
    .source = "the file name's eight digits; in full as independent users publish it",             \
    .file = {{"resnet" #depth "-" hash ".pth",                                                     \
              "https://download.pytorch.org/models/resnet" #depth "-" hash ".pth", size, sum,      \
              false}},                                                                             \
    .architecture = "resnet:depth=" #depth, IMAGENET_PICTURES                                      \
  }

#define DEIT(size_name, title, hash, size, sum, spec, accuracy)                                    \
  {                                                                                                \
    .name = "deit_" size_name,                                                                     \
    .summary = "DeiT-" title ", a vision transformer on ImageNet, " accuracy " top-1",             \
    .page = "https://github.com/facebookresearch/deit",                                            \
    .licence = "Apache-2.0; trained on ImageNet, whose terms are for research",                    \
    .source = "the file name's eight digits; in full as independent users publish it",             \
    .file = {{"deit_" size_name "_patch16_224-" hash ".pth",                                       \
              "https://dl.fbaipublicfiles.com/deit/deit_" size_name "_patch16_224-" hash ".pth",   \
              size, sum, false}},                                                                  \
    .architecture = spec, .interpolation = MICA_FILTER_BICUBIC, IMAGENET_PICTURES                  \
  }

static const char *const cifar10[] = {"airplane", "automobile", "bird",  "cat",  "deer",
                                      "dog",      "frog",       "horse", "ship", "truck"};

#define CIFAR(depth, hash, size, sum, error)                                                       \
  {                                                                                                \
    .name = "cifar-resnet" #depth,                                                                 \
    .summary = "ResNet-" #depth " on CIFAR-10 (32x32), " error " test error",                      \
    .page = "https://github.com/akamaster/pytorch_resnet_cifar10", .licence = "BSD-2-Clause",      \
    .source = "the publisher's file",                                                              \
    .file = {{"resnet" #depth "-" hash ".th",                                                      \
              "https://raw.githubusercontent.com/akamaster/pytorch_resnet_cifar10/master/"         \
              "pretrained_models/resnet" #depth "-" hash ".th",                                    \
              size, sum, false}},                                                                  \
    .architecture = "resnet:depth=" #depth, .side = 32, .channels = 3, .crop = 1,                  \
    .mean = {0.485, 0.456, 0.406}, .deviation = {0.229, 0.224, 0.225}, .classes = cifar10,         \
    .n_classes = 10                                                                                \
  }

const catalogue_item catalogue_models[] = {
    TORCHVISION(18, "f37072fd", 46830571,
                "f37072fd47e89c5e827621c5baffa7500819f7896bbacec160b1a16c560e07ec", "69.76%"),
    TORCHVISION(34, "b627a593", 87319819,
                "b627a593bcbe140c234610266fe4f8ae95ea42fc881d091c9b6052e6b1d0590f", "73.31%"),
    TORCHVISION(50, "0676ba61", 102530333,
                "0676ba61b6795bbe1773cffd859882e5e297624d384b6993f7c9e683e722fb8a", "76.13%"),
    TORCHVISION(101, "63fe2227", 0,
                "63fe2227b86e8f1f2063f43a75c84d195911b6a0eace650907dd3dc62dd49a0a", "77.37%"),
    DEIT("tiny", "Ti", "a1311bcf", 0,
         "a1311bcf4f24e3c95adaa75535db67bc4412d95535b98f7c1dfd1164dda41c97",
         "vit:patch=16:dim=192:depth=12:heads=3", "72.2%"),
    DEIT("small", "S", "cd65a155", 0,
         "cd65a15597004d0ce19d7a9daef969903972db5b398e3a5febcd3c4df1d8f59f",
         "vit:patch=16:dim=384:depth=12:heads=6", "79.9%"),
    DEIT("base", "B", "b5f2ef4d", 0,
         "b5f2ef4d686982dcdab24fe285fd08fff40db01550d8d4833167a73dd85ca7a8",
         "vit:patch=16:dim=768:depth=12:heads=12", "81.8%"),
    CIFAR(20, "12fca82f", 1099231,
          "12fca82f0bebc4135bf1f32f6e3710e61d5108578464b84fd6d7f5c1b04036c8", "8.27%"),
    CIFAR(32, "d509ac18", 1890043,
          "d509ac1820d7f25398913559d7e81a13229b1e7adc5648e3bfa5e22dc137f850", "7.37%"),
    CIFAR(44, "014dd654", 2680855,
          "014dd6541728a1c700b1642ab640e211dc6eb8ed507d70697458dc8f8a0ae2e4", "6.90%"),
    CIFAR(56, "4bfd9763", 3471733,
          "4bfd97631478d6b638d2764fd2baff3edb1d7d82252d54439343b6596b9b5367", "6.61%"),
    {0}};
