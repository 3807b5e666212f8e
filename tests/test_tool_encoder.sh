# The tool on encoders of texts: a folder of the library transformers made a model file, lines of text
# made features.
mica=$MICA_BUILD/mica
golden=$PWD/tests/golden/torch/bert.safetensors
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir" || exit 1

# check NAME STATUS TEXT COMMAND...: it ends with that status and prints the text
check() {
  local name=$1 status=$2 text=$3
  shift 3
  "$@" >out 2>&1
  local got=$?
  if [ $got = "$status" ] && grep -q -- "$text" out; then
    echo "ok $name"
  else
    echo "# status $got: $*"
    sed 's/^/# /' out
    echo "not ok $name"
  fi
}
same() { # NAME FILE FILE
  if cmp "$2" "$3" >out 2>&1; then
    echo "ok $1"
  else
    sed 's/^/# /' out
    echo "not ok $1"
  fi
}

mkdir -p folder/1_Pooling
cp "$golden" folder/model.safetensors
config() { # MODEL_TYPE ACTIVATION
  printf '{"model_type": "%s", "hidden_act": "%s", "hidden_size": 8, "num_hidden_layers": 2,
    "num_attention_heads": 2, "intermediate_size": 12, "max_position_embeddings": 7,
    "type_vocab_size": 2, "layer_norm_eps": 1e-12, "vocab_size": 20}' "$1" "$2" >folder/config.json
}
config bert gelu
printf '%s\n' '[PAD]' '[CLS]' '[SEP]' '[UNK]' the cat sat on mat a b c d e f g h i j '##s' >folder/vocab.txt
printf '{"pooling_mode_cls_token": false, "pooling_mode_mean_tokens": true}' >folder/1_Pooling/config.json
printf '[{"type": "sentence_transformers.models.Transformer"}, {"type": "sentence_transformers.models.Pooling"},
  {"type": "sentence_transformers.models.Normalize"}]' >folder/modules.json
printf '{"max_seq_length": 6}' >folder/sentence_bert_config.json

check "a folder becomes a model file" 0 "model: e.mica" "$mica" model import folder -o e.mica
check "what it is" 0 "bert:.*separator=2:pool=mean:normalise=true" "$mica" info e.mica
printf 'the cats sat\na\n\nThe Cats  sat' >lines.txt
check "lines become features" 0 "4 rows of 8 features" "$mica" embed e.mica --text lines.txt -o a.npy
check "the same from standard input" 0 "4 rows of 8 features" bash -c '"$0" embed e.mica --text - -o b.npy <lines.txt' "$mica"
same "and the same numbers" a.npy b.npy
# The header has 128 bytes and a row 32: equal tokens give equal features, others do not.
tail -c 32 a.npy >last
dd if=a.npy bs=1 skip=128 count=32 2>/dev/null >first
same "equal tokens give equal features" first last
dd if=a.npy bs=1 skip=160 count=32 2>/dev/null >second
if cmp -s first second; then echo "not ok other tokens give others"; else echo "ok other tokens give others"; fi
printf 'the cat sat on a mat a b c d e f g\nthe cat sat on\n' >long.txt
check "long lines are cut" 0 "2 rows of 8" "$mica" embed e.mica --text long.txt -o c.npy
tail -c 32 c.npy >last
dd if=c.npy bs=1 skip=128 count=32 2>/dev/null >first
same "to the length that the folder says" first last
: >empty.txt
check "an empty text" 1 "no line in it" "$mica" embed e.mica --text empty.txt
check "a text that is not there" 1 "nowhere.txt" "$mica" embed e.mica --text nowhere.txt
check "two sources" 2 "one of the three" "$mica" embed e.mica --text lines.txt --data x
config roberta gelu
check "another architecture is refused" 1 "model_type: 'roberta'" "$mica" model import folder -o x.mica
config bert relu
check "another activation is refused" 1 "hidden_act: 'relu'" "$mica" model import folder -o x.mica
config bert gelu
printf '[{"type": "sentence_transformers.models.Dense"}]' >folder/modules.json
check "a further module is refused" 1 "models.Dense is not read" "$mica" model import folder -o x.mica
rm folder/modules.json folder/vocab.txt
check "no vocabulary" 1 "no vocabulary file" "$mica" model import folder -o x.mica
rm folder/model.safetensors
check "no weights" 1 "neither model.safetensors" "$mica" model import folder -o x.mica
check "no folder" 1 "no config.json" "$mica" model import nowhere -o x.mica
check "import what" 2 "which folder" "$mica" model import
if [ -e x.mica ]; then echo "not ok nothing is left behind"; else echo "ok nothing is left behind"; fi
