"""Every sentence that tells a user of a mistake: code -> (what, what to do), in English and Chinese.

1xxx ours · 2xxx usage and config · 3xxx data · 4xxx busy · 5xxx storage · 6xxx numbers · 7xxx incompatible ·
8xxx refused for safety. Names in braces are filled in by the raise site; both languages use the same names.
"""

from typing import NamedTuple


class Entry(NamedTuple):
    en: tuple[str, str]
    zh: tuple[str, str]


CATALOGUE: dict[str, Entry] = {
    # -- 1xxx: ours ---------------------------------------------------------------------------------------------
    "MQ-1001": Entry(
        en=("this is a fault of Maquette, not yours: {kind}: {reason}", "please report it with the file {report}"),
        zh=("这是 Maquette 自身的错误，不是您的问题：{kind}：{reason}", "请附上文件 {report} 报告此问题"),
    ),
    "MQ-1002": Entry(
        en=("this is a fault of the server, not yours", "its operator finds it in the log under {request}"),
        zh=("这是服务器的错误，不是您的问题", "运营者可在日志中按 {request} 查到"),
    ),
    "MQ-1170": Entry(
        en=("this lesson did not come to what it is for: {reason}", "look at what it left; a longer budget may help"),
        zh=("本课没有达到目的：{reason}", "请查看它留下的文件；延长训练可能有帮助"),
    ),
    "MQ-1180": Entry(
        en=("its process was ended by {signal}", "look at its log; SIGKILL often comes from a system out of memory"),
        zh=("其进程被 {signal} 终止", "请查看日志；SIGKILL 常因系统内存不足而来"),
    ),
    "MQ-1181": Entry(
        en=("its process ended with {status}", "look at its log"),
        zh=("其进程以 {status} 结束", "请查看日志"),
    ),
    "MQ-1182": Entry(
        en=("no worker could be started: {reason}", "see to it that the machine has room for another process"),
        zh=("无法启动工作进程：{reason}", "请确认机器还能容纳一个进程"),
    ),
    "MQ-1183": Entry(
        en=("the server that ran it was gone", "look at the server's log"),
        zh=("运行它的服务器已不在", "请查看服务器日志"),
    ),
    # -- 2xxx: usage and config ---------------------------------------------------------------------------------
    "MQ-2001": Entry(
        en=("{path} has no {key!r}", "{near}"),
        zh=("{path} 没有名为 {key!r} 的字段", "{near}"),
    ),
    "MQ-2002": Entry(
        en=("{path} should be {wanted}, but {value} was given", ""),
        zh=("{path} 应为 {wanted}，但给出的是 {value}", ""),
    ),
    "MQ-2003": Entry(
        en=("{path}: no kind {kind!r}", "{near}"),
        zh=("{path}：没有名为 {kind!r} 的种类", "{near}"),
    ),
    "MQ-2004": Entry(
        en=("{path} needs {key!r}", "add it to the recipe, or give it as {key}=…"),
        zh=("{path} 缺少 {key!r}", "请写进配方，或以 {key}=… 的形式给出"),
    ),
    "MQ-2005": Entry(
        en=("this is not readable as {format}: {reason}", "mend the file at the place named"),
        zh=("无法按 {format} 读取：{reason}", "请修正所指位置的内容"),
    ),
    "MQ-2006": Entry(
        en=("no recipe {name!r}", "{near}; `maquette recipes` lists them all"),
        zh=("没有名为 {name!r} 的配方", "{near}；运行 `maquette recipes` 查看全部配方"),
    ),
    "MQ-2007": Entry(
        en=("the override {text!r} is not of the form key=value", "for example model.net.width=128"),
        zh=("覆盖项 {text!r} 不是 key=value 的形式", "例如 model.net.width=128"),
    ),
    "MQ-2008": Entry(
        en=("{kind} models take {accepts}, but this recipe gives {given}", "{hint}"),
        zh=("{kind} 模型需要 {accepts}，但此配方给出 {given}", "{hint}"),
    ),
    "MQ-2009": Entry(
        en=("{path}: {value} is not possible: {reason}", "{todo}"),
        zh=("{path}：{value} 不可用：{reason}", "{todo}"),
    ),
    "MQ-2119": Entry(
        en=("finished runs are compared as they are, without {what}", "leave that out"),
        zh=("已完成的训练按原样比较，不能带 {what}", "请去掉它"),
    ),
    "MQ-2120": Entry(
        en=("these models make different things: {differing}", "compare models of one medium and one size"),
        zh=("这些模型生成的内容不同：{differing}", "请比较同一媒介、同一尺寸的模型"),
    ),
    "MQ-2121": Entry(
        en=("the {what} is {tokens} tokens long, and the model reads at most {most}", "shorten it"),
        zh=("{what} 的长度是 {tokens} 个词元，模型最多读取 {most} 个", "请缩短"),
    ),
    "MQ-2122": Entry(
        en=(
            "this model cannot say which label a sample has",
            "train one that has a likelihood, such as the recipe classify, with data.conditional=true",
        ),
        zh=(
            "此模型无法判断样本属于哪个标签",
            "请以 data.conditional=true 训练具有似然的模型，例如配方 classify",
        ),
    ),
    "MQ-2080": Entry(
        en=(
            "nothing here can look at samples of {space}",
            "scores of pictures, sound, films, text and points can be had",
        ),
        zh=("此处没有能观察 {space} 样本的特征提取器", "目前可评价图像、声音、影片、文本与点"),
    ),
    "MQ-2081": Entry(
        en=(
            "the weights of the standard Inception are not there",
            "`maquette evaluate RUN --inception FILE` converts and keeps them; without, the domain extractor is used",
        ),
        zh=(
            "找不到标准 Inception 的权重",
            "运行 `maquette evaluate RUN --inception FILE` 可转换并保存；没有它时由领域特征提取器代替",
        ),
    ),
    "MQ-2082": Entry(
        en=("this file cannot be converted: {reason}", "give the file {known}, whole"),
        zh=("无法转换此文件：{reason}", "请提供完整的 {known}"),
    ),
    "MQ-2083": Entry(
        en=(
            "{n} samples are too few to score",
            "ask for at least {least}, and bring at least twice as many: real ones are compared with real ones too",
        ),
        zh=("{n} 个样本太少，无法评价", "请至少要求 {least} 个，并提供至少两倍的样本：真实样本之间也要比较"),
    ),
    "MQ-2084": Entry(
        en=(
            "{n} unseen questions with answers are too few to score",
            "bring at least {least}: a table with columns prompt and response (data.columns can name others)",
        ),
        zh=(
            "只有 {n} 个未见过的问答，太少，无法评价",
            "请至少提供 {least} 个：含 prompt 与 response 两列的表格（可用 data.columns 指定其他列名）",
        ),
    ),
    "MQ-2085": Entry(
        en=("no report has a score called {name!r}", "{near}"),
        zh=("没有报告含有名为 {name!r} 的分数", "{near}"),
    ),
    "MQ-2100": Entry(
        en=(
            "the label {label!r} was asked for, but this model was trained without labels",
            "leave --label out, or train with data.conditional=true",
        ),
        zh=("请求了标签 {label!r}，但此模型训练时没有使用标签", "请去掉 --label，或以 data.conditional=true 训练"),
    ),
    "MQ-2101": Entry(
        en=("the model knows no class {label!r}", "{near}"),
        zh=("模型没有类别 {label!r}", "{near}"),
    ),
    "MQ-2102": Entry(
        en=(
            "guidance is not possible: this model never learnt to do without its label",
            "leave --guidance at 1, or train with data.conditional=true, hiding a share of the labels",
        ),
        zh=(
            "无法使用引导：此模型没有学过不带标签的生成",
            "请保持 --guidance 为 1，或以 data.conditional=true 训练并隐去一部分标签",
        ),
    ),
    "MQ-2103": Entry(
        en=("{kind} items cannot be enlarged {factor} times: {reason}", "choose another factor, or leave it out"),
        zh=("{kind} 无法放大 {factor} 倍：{reason}", "请换一个倍数，或去掉此项"),
    ),
    "MQ-2104": Entry(
        en=("this model cannot {task}", "train a recipe that can, see `maquette recipes`"),
        zh=("此模型不能 {task}", "请训练能做到的配方，见 `maquette recipes`"),
    ),
    "MQ-2105": Entry(
        en=("{first} needs {second} beside it", "give both, or neither"),
        zh=("{first} 需要与 {second} 一起给出", "请同时给出，或都不给"),
    ),
    "MQ-2106": Entry(
        en=("the {what} has the shape {found}, but this model needs {wanted}", "resize it, or use another model"),
        zh=("{what} 的形状是 {found}，但此模型需要 {wanted}", "请调整大小，或换用别的模型"),
    ),
    "MQ-2107": Entry(
        en=("compiled steps need the package 'numba', which is not installed", "pip install 'maquette[fast]'"),
        zh=("编译步骤需要软件包 'numba'，但尚未安装", "pip install 'maquette[fast]'"),
    ),
    "MQ-2108": Entry(
        en=(
            "the steps of {kind} on {device} cannot be compiled",
            "leave --compiled out, or draw on a CPU, from a model that makes one value after another",
        ),
        zh=("无法编译 {kind} 在 {device} 上的步骤", "请去掉 --compiled，或在 CPU 上使用逐个取值生成的模型"),
    ),
    "MQ-2110": Entry(
        en=("{reason}", "`{prog} --help` shows what is possible"),
        zh=("{reason}", "`{prog} --help` 列出全部用法"),
    ),
    "MQ-2111": Entry(
        en=("there is no verb {verb!r}", "{near}; `maquette --help` explains them"),
        zh=("没有名为 {verb!r} 的命令", "{near}；`maquette --help` 有说明"),
    ),
    "MQ-2112": Entry(
        en=("a verb is missing", "`maquette --help` lists them; `maquette demo` shows what they do"),
        zh=("缺少命令", "`maquette --help` 列出全部命令；`maquette demo` 作演示"),
    ),
    "MQ-2113": Entry(
        en=("{word!r} is not expected here", "`{prog} --help` shows what is possible"),
        zh=("这里不应出现 {word!r}", "`{prog} --help` 列出全部用法"),
    ),
    "MQ-2114": Entry(
        en=("there is no option {flag!r}", "{near}"),
        zh=("没有名为 {flag!r} 的选项", "{near}"),
    ),
    "MQ-2115": Entry(
        en=("the recipe name {name!r} stands for several: {names}", "give it in full"),
        zh=("配方名 {name!r} 对应多个配方：{names}", "请写全名"),
    ),
    "MQ-2116": Entry(
        en=("the recipes have {what} of their own: {differing}", "give {option} for all of them"),
        zh=("各配方的 {what} 不同：{differing}", "请用 {option} 统一给出"),
    ),
    "MQ-2117": Entry(
        en=("{name!r} stands twice among {what}", "name each once"),
        zh=("{what} 中 {name!r} 出现了两次", "每个只写一次"),
    ),
    "MQ-2118": Entry(
        en=("a bundle does not say which {what} it learnt from", "{todo}"),
        zh=("模型包没有说明训练所用的 {what}", "{todo}"),
    ),
    "MQ-2130": Entry(
        en=("this model answers, and was given nothing to answer", "give it a prompt"),
        zh=("此模型用于回答，但没有给出要回答的内容", "请给出提示"),
    ),
    "MQ-2131": Entry(
        en=(
            "the model's vocabulary has no {what} as single tokens, so gaps cannot be filled one by one",
            "train with medium.tokenizer=character on text that has them",
        ),
        zh=(
            "模型的词表中没有作为单个词元的 {what}，因此无法逐字填空",
            "请用含有它们的文字、以 medium.tokenizer=character 训练",
        ),
    ),
    "MQ-2132": Entry(
        en=("{asked} tokens were asked for, but the model's context holds {most}", "ask for at most {most}"),
        zh=("请求生成 {asked} 个词元，但模型的上下文只有 {most} 个", "请最多请求 {most} 个"),
    ),
    "MQ-2133": Entry(
        en=(
            "this model goes on with a text; it was not taught to answer",
            "use `maquette sample --prompt`, or train on questions and answers with medium.asks=true",
        ),
        zh=(
            "此模型只会续写文字，没有学过回答",
            "请使用 `maquette sample --prompt`，或以 medium.asks=true 用问答数据训练",
        ),
    ),
    "MQ-2134": Entry(
        en=(
            "there is nothing to begin from: {reason}",
            "give a run, a bundle, a folder with config.json and model.safetensors, or hf:NAME",
        ),
        zh=(
            "没有可以作为起点的模型：{reason}",
            "请给出训练文件夹、模型包、含 config.json 与 model.safetensors 的文件夹，或 hf:NAME",
        ),
    ),
    "MQ-2135": Entry(
        en=("train.frozen: no parameter is called {pattern!r}", "{near}; * stands for any part of a name"),
        zh=("train.frozen：没有名为 {pattern!r} 的参数", "{near}；* 可代表名字的任意部分"),
    ),
    "MQ-2140": Entry(
        en=(
            "a {kind} model cannot {what}",
            "teacher and student must both learn to predict one token after another; leave `teacher` out, or name "
            "others",
        ),
        zh=("{kind} 模型不能{what}", "教师与学生须是损失为逐个词元预测的模型；请去掉 teacher，或换用别的模型"),
    ),
    "MQ-2141": Entry(
        en=(
            "this teacher was made for something else: other {differing}",
            "train teacher and student on the same data, with the same medium, codec and labels",
        ),
        zh=("此教师针对的是别的内容，不同之处：{differing}", "请用相同的数据、媒介、编解码器与标签训练教师和学生"),
    ),
    "MQ-2142": Entry(
        en=(
            "this recipe goes on from trained weights, and was given none: it would train random ones at rates that "
            "are meant for trained ones",
            "give --from a run, a bundle, a folder with config.json and model.safetensors, or hf:NAME; to begin at "
            "random choose another recipe (`maquette recipes`), or set finetunes=false",
        ),
        zh=(
            "此配方用于微调已训练的权重，但没有给出权重：否则就会以为微调而设的学习率训练随机权重",
            "请用 --from 给出训练文件夹、模型包、含 config.json 与 model.safetensors 的文件夹，或 hf:NAME；"
            "若要从随机权重开始，请换用别的配方（`maquette recipes`），或设置 finetunes=false",
        ),
    ),
    "MQ-2160": Entry(
        en=("there is no model {name!r}", "{near}"),
        zh=("没有名为 {name!r} 的模型", "{near}"),
    ),
    "MQ-2161": Entry(
        en=("a {kind} model gives no vectors", "name one of text or of pictures with captions"),
        zh=("{kind} 模型不给出向量", "请指定文字模型或图文模型"),
    ),
    "MQ-2162": Entry(
        en=(
            "this model needs {needed} bytes, and the server may use {memory}",
            "the operator can give more: --memory GIB",
        ),
        zh=("此模型需要 {needed} 字节，而服务器只可使用 {memory} 字节", "运营者可以给更多：--memory GIB"),
    ),
    "MQ-2040": Entry(
        en=("there is no solver {name!r}", "{near}"),
        zh=("没有名为 {name!r} 的求解器", "{near}"),
    ),
    "MQ-2041": Entry(
        en=("this solver adds fresh noise and was given no source of it", "pass rng, or use a solver that adds none"),
        zh=("此求解器需要新的噪声，但没有给出随机源", "请传入 rng，或改用不加噪声的求解器"),
    ),
    "MQ-2042": Entry(
        en=(
            "the solver {name!r} adds no fresh noise, so it has no eta to set",
            "use the solver ddim, or leave eta out",
        ),
        zh=("求解器 {name!r} 不添加新噪声，因此没有 eta 可设", "请改用求解器 ddim，或去掉 eta"),
    ),
    "MQ-2043": Entry(
        en=("{small} enlarged {factor} times is not the {size} that the model makes", "choose a factor that fits"),
        zh=("{small} 放大 {factor} 倍后不是模型所生成的 {size}", "请选择合适的倍数"),
    ),
    "MQ-2060": Entry(
        en=("a quantiser needs a space with levels, but {given} was given", "8-bit pictures have 256 levels"),
        zh=("量化器需要带有级数的空间，但给出的是 {given}", "8 位图像有 256 级"),
    ),
    "MQ-2061": Entry(
        en=(
            "the autoencoder's codes of the examples are not finite",
            "train it again; a bundle that samples well has none",
        ),
        zh=("自编码器对样例的编码不是有限数", "请重新训练；能正常采样的模型包不会如此"),
    ),
    "MQ-2062": Entry(
        en=(
            "a codec must be an autoencoder that is trained on samples themselves; this {kind} {reason}",
            "name a run of a model that both encodes and decodes",
        ),
        zh=(
            "编解码器须是直接在样本上训练的自编码器；这个 {kind} 不是：{reason}",
            "请指定既能编码又能解码的模型的训练文件夹",
        ),
    ),
    "MQ-2063": Entry(
        en=(
            "this codec was made for other samples: {differences}",
            "give the recipe the codec's medium, or train a codec for this one",
        ),
        zh=("此编解码器针对的是另一种样本：{differences}", "请让配方使用编解码器的媒介，或为此媒介训练编解码器"),
    ),
    "MQ-2064": Entry(
        en=(
            "the codec {kind} is for sound, but {given} was given",
            "use it behind medium.kind=audio; mulaw takes one channel",
        ),
        zh=("编解码器 {kind} 用于声音，但给出的是 {given}", "请与 medium.kind=audio 一起使用；mulaw 只接受单声道"),
    ),
    "MQ-2020": Entry(
        en=(
            "{path} is batch, but a penalty on the critic's slope needs each row judged by itself",
            "set it to spectral, group or none, or take away model.gradient_penalty, model.r1 and model.r2",
        ),
        zh=(
            "{path} 为 batch，但对判别器斜率的惩罚要求逐行独立评判",
            "请改为 spectral、group 或 none，或去掉 model.gradient_penalty、model.r1 与 model.r2",
        ),
    ),
    "MQ-2136": Entry(
        en=("{kind} models cannot be given {what} with each sample, but this recipe does", "{todo}"),
        zh=("{kind} 模型不能随每个样本接收 {what}，但此配方如此给出", "{todo}"),
    ),
    "MQ-2137": Entry(
        en=("this model starts from a picture and was given none", "give one: --image FILE"),
        zh=("此模型以一张图片为起点，但没有给出", "请给出一张：--image 文件"),
    ),
    "MQ-2138": Entry(
        en=("this model ({kind}) takes no {what}", "leave it out"),
        zh=("此模型（{kind}）不接受 {what}", "请去掉它"),
    ),
    "MQ-2139": Entry(
        en=("of data.{names} only one can say which picture is given with a sample", "keep one of them"),
        zh=("data.{names} 中只能有一个说明随样本给出哪张图片", "请只保留一个"),
    ),
    "MQ-2150": Entry(
        en=("{kind} models learn from captions, and this recipe gives none", "add data.captions.length=32"),
        zh=("{kind} 模型需要从说明文字中学习，但此配方没有给出", "请加上 data.captions.length=32"),
    ),
    "MQ-2151": Entry(
        en=(
            "a {kind} model judges and makes nothing",
            "use `maquette evaluate`, or a recipe of a model that makes samples",
        ),
        zh=("{kind} 模型只作判断，不生成任何内容", "请使用 `maquette evaluate`，或选用能生成样本的模型配方"),
    ),
    "MQ-2152": Entry(
        en=(
            "{n} unseen samples with captions are too few to score",
            "bring data with at least {least} in the test split",
        ),
        zh=("带说明文字的未见样本只有 {n} 个，不足以评分", "请提供测试集中至少有 {least} 个此类样本的数据"),
    ),
    "MQ-2153": Entry(
        en=(
            "this cannot judge what the model makes: {reason}",
            "name a run of the recipe `clip` that was trained on pictures of the same size with captions",
        ),
        zh=("它无法评判模型生成的内容：{reason}", "请指定一个用同样大小、带说明文字的图片训练的 `clip` 配方的运行"),
    ),
    "MQ-2180": Entry(
        en=("there is no {what} {id!r}", "list them: names and ids are those of this key alone"),
        zh=("没有 {what} {id!r}", "请先列出：名称与编号只属于当前密钥"),
    ),
    "MQ-2181": Entry(
        en=("this {what} is {state}: {reason}", "look at it again before asking for more"),
        zh=("此 {what} 的状态为 {state}：{reason}", "请重新查看后再操作"),
    ),
    "MQ-2182": Entry(
        en=("this upload is not taken: {reason}", "mend the file, and send it again"),
        zh=("不接受此上传：{reason}", "请修正文件后重新上传"),
    ),
    "MQ-2183": Entry(
        en=(
            "this idempotency key was used for another request",
            "use a new key for each request, and the same one only to repeat it",
        ),
        zh=("此幂等键已用于另一个请求", "每个请求请使用新的键，仅在重发同一请求时使用相同的键"),
    ),
    "MQ-2185": Entry(
        en=(
            "the job needs more memory than the {most} GiB that a job may take here",
            "lower train.batch, or the sizes of the model; the operator can allow more: --worker-memory",
        ),
        zh=(
            "此任务需要的内存超过了此处允许的 {most} GiB",
            "请减小 train.batch 或模型的尺寸；运营者可以用 --worker-memory 放宽",
        ),
    ),
    "MQ-2186": Entry(
        en=("it took longer than {seconds} s", "ask for less at a time"),
        zh=("用时超过了 {seconds} 秒", "请减少一次要求的内容"),
    ),
    "MQ-2184": Entry(
        en=("{path} cannot be set by a request: {reason}", "leave it out"),
        zh=("请求不能设置 {path}：{reason}", "请去掉它"),
    ),
    "MQ-2190": Entry(
        en=("this server cannot be asked: {reason}", "name one as http://127.0.0.1:8000/v1, its model by --model"),
        zh=("无法请求此服务器：{reason}", "请写成 http://127.0.0.1:8000/v1 的形式，并用 --model 指定模型"),
    ),
    "MQ-2191": Entry(
        en=("the server did not do it: {reason}", "see to the request, or to the server"),
        zh=("服务器未完成请求：{reason}", "请检查请求或服务器"),
    ),
    "MQ-2192": Entry(
        en=("this cannot be trained privately: {reason}", "{todo}"),
        zh=("无法以差分隐私训练：{reason}", "{todo}"),
    ),
    # -- 22xx: what a server is asked ----------------------------------------------------------------------------
    "MQ-2201": Entry(
        en=("the body is not the JSON that is read here: {reason}", "send one JSON object in UTF-8"),
        zh=("请求正文不是此处可读的 JSON：{reason}", "请发送一个 UTF-8 编码的 JSON 对象"),
    ),
    "MQ-2202": Entry(
        en=("{path}: {wanted}{more}", ""),
        zh=("{path}：{wanted}{more}", ""),
    ),
    "MQ-2203": Entry(
        en=("{count} unknown fields", "{near}"),
        zh=("有 {count} 个未知字段", "{near}"),
    ),
    "MQ-2204": Entry(
        en=("the {what} is too large: at most {most} are read", "send less"),
        zh=("{what} 过大：最多读取 {most}", "请减少内容"),
    ),
    "MQ-2205": Entry(
        en=("this content type is not read here", "send {wanted}"),
        zh=("此处不接受这种内容类型", "请发送 {wanted}"),
    ),
    "MQ-2206": Entry(
        en=("there is no such path or method here", "GET /openapi.json lists all of them"),
        zh=("没有这个路径或方法", "GET /openapi.json 列出全部路径"),
    ),
    "MQ-2207": Entry(
        en=("there is no valid key with this request", "send the header Authorization: Bearer KEY"),
        zh=("此请求没有有效的密钥", "请发送请求头 Authorization: Bearer 密钥"),
    ),
    "MQ-2208": Entry(
        en=("this key may not do that: it needs the scope {scope}", "ask the operator for one that may"),
        zh=("此密钥无权这样做：需要权限 {scope}", "请向运营者申请有此权限的密钥"),
    ),
    "MQ-2209": Entry(
        en=("the header {header} is not one that this server answers to", "the operator can allow it: --name HOST"),
        zh=("此服务器不接受这样的请求头 {header}", "运营者可以允许它：--name 主机名"),
    ),
    "MQ-2210": Entry(
        en=("too many requests", "try again in {seconds} s"),
        zh=("请求过多", "请在 {seconds} 秒后重试"),
    ),
    "MQ-2211": Entry(
        en=("the server has all the work that it can take", "try again in {seconds} s"),
        zh=("服务器已满负荷", "请在 {seconds} 秒后重试"),
    ),
    "MQ-2212": Entry(
        en=("the server is stopping", "try again in {seconds} s"),
        zh=("服务器正在停止", "请在 {seconds} 秒后重试"),
    ),
    "MQ-2213": Entry(
        en=("{what} took too long", "{todo}"),
        zh=("{what} 用时过长", "{todo}"),
    ),
    "MQ-2214": Entry(
        en=("the model makes {made}, which this path is not for", "use {todo}"),
        zh=("此模型生成 {made}，不适用于此路径", "请使用 {todo}"),
    ),
    "MQ-2217": Entry(
        en=("the request is not one of HTTP/1.1: {reason}", ""),
        zh=("这不是 HTTP/1.1 请求：{reason}", ""),
    ),
    "MQ-2219": Entry(
        en=("the headers are too large: at most {most} bytes are read", "send fewer, or shorter ones"),
        zh=("请求头过大：最多读取 {most} 字节", "请减少或缩短请求头"),
    ),
    "MQ-2218": Entry(
        en=("this is no file of rules: {reason}", "write a category, a colon and a list of phrases on each line"),
        zh=("这不是规则文件：{reason}", "请在每行写类别、冒号和短语列表"),
    ),
    "MQ-2250": Entry(
        en=("this machine could not take the first steps: {reason}", "lower train.batch, or the sizes of the model"),
        zh=("这台机器无法完成最初几步：{reason}", "请减小 train.batch，或减小模型的尺寸"),
    ),
    "MQ-2220": Entry(
        en=("the server is still loading its models", "try again in {seconds} s"),
        zh=("服务器仍在加载模型", "请在 {seconds} 秒后重试"),
    ),
    "MQ-2230": Entry(
        en=("this page no longer belongs to the session", "load the page again"),
        zh=("此页面已不属于当前会话", "请重新载入页面"),
    ),
    "MQ-2240": Entry(
        en=(
            "a search cannot vary {key}: it is the same for all trials",
            "name fields of model and train; not model.kind, train.budget, train.device or train.seed",
        ),
        zh=(
            "搜索不能改变 {key}：所有试验的这一项相同",
            "请列出 model 和 train 的字段；model.kind、train.budget、train.device、train.seed 除外",
        ),
    ),
    # -- 3xxx: data ---------------------------------------------------------------------------------------------
    "MQ-2170": Entry(
        en=(
            "no tutorial {name!r}",
            "{near}; `maquette recipes --tutorials` lists them all, by listing too: tutorial/13",
        ),
        zh=("没有教程 {name!r}", "{near}；运行 `maquette recipes --tutorials` 查看全部，也可按代码编号：tutorial/13"),
    ),
    "MQ-2171": Entry(
        en=("the environment lacks: {missing}", "pip install {missing}"),
        zh=("环境缺少：{missing}", "pip install {missing}"),
    ),
    "MQ-2172": Entry(
        en=("no drawing {name!r}", "{near}"),
        zh=("没有图 {name!r}", "{near}"),
    ),
    "MQ-3001": Entry(
        en=(
            "this file cannot be read: {reason}",
            "mend or remove it; `maquette data check FOLDER` lists all such files",
        ),
        zh=("无法读取此文件：{reason}", "请修复或移除它；运行 `maquette data check FOLDER` 可列出所有此类文件"),
    ),
    "MQ-3002": Entry(
        en=("there is no {what} here", "{todo}"),
        zh=("这里没有 {what}", "{todo}"),
    ),
    "MQ-3003": Entry(
        en=(
            "{bad} of {total} files cannot be read, more than the {share} allowed (first: {first})",
            "`maquette data check FOLDER --move-bad DIR` moves them away, or allow more with data.max_bad=0.1",
        ),
        zh=(
            "{total} 个文件中有 {bad} 个无法读取，超过允许的 {share}（第一个：{first}）",
            "`maquette data check FOLDER --move-bad DIR` 可把它们移走，或用 data.max_bad=0.1 允许更多",
        ),
    ),
    "MQ-3010": Entry(
        en=("this needs the package {package!r}, which is not installed", "pip install 'maquette[{extra}]'"),
        zh=("此处需要软件包 {package!r}，但尚未安装", "pip install 'maquette[{extra}]'"),
    ),
    "MQ-3011": Entry(
        en=("{name} holds {holds}, but the recipe's medium is {medium}", "{todo}"),
        zh=("{name} 的内容是 {holds}，但配方的媒介是 {medium}", "{todo}"),
    ),
    "MQ-3012": Entry(
        en=(
            "data.conditional is true, but these data have no labels",
            "sort the files into one folder per class, or name labels in metadata.csv or in a table's column label (of "
            "text, with medium.alone=true), or set data.conditional=false",
        ),
        zh=(
            "data.conditional 为 true，但这些数据没有标签",
            "请按类别分文件夹存放，或在 metadata.csv 或表格的 label 列中写明标签（文字还需 medium.alone=true），"
            "或设置 data.conditional=false",
        ),
    ),
    "MQ-3013": Entry(
        en=(
            "there is no data source {source!r}; {near}",
            "give a folder, a .csv, .jsonl or .parquet file, hf:NAME, or one of {names}",
        ),
        zh=(
            "没有名为 {source!r} 的数据来源；{near}",
            "请给出文件夹，.csv、.jsonl 或 .parquet 文件，hf:NAME，或下列之一：{names}",
        ),
    ),
    "MQ-3014": Entry(
        en=(
            "this table cannot be used: {reason}",
            "mend the row named; a table has a column file_name, and label or text",
        ),
        zh=("无法使用此表格：{reason}", "请修正所指的行；表格需有 file_name 列，以及 label 或 text 列"),
    ),
    "MQ-3015": Entry(
        en=("Hugging Face `datasets` cannot open this: {reason}", "{todo}"),
        zh=("Hugging Face `datasets` 无法打开：{reason}", "{todo}"),
    ),
    "MQ-3016": Entry(
        en=(
            "no typeface on this machine has all the characters of {text!r}",
            "install one that has them, or choose other words for the label",
        ),
        zh=("本机没有字体包含 {text!r} 的全部字符", "请安装相应字体，或换用其他标注文字"),
    ),
    "MQ-3017": Entry(
        en=("no row of {source} goes with any of these: {reason}", "name a column of both by data.pair.by, or `name`"),
        zh=("{source} 中没有与这些样本对应的行：{reason}", "请用 data.pair.by 指定两边共有的列，或 `name`"),
    ),
    "MQ-3018": Entry(
        en=("there are only {tokens} tokens to learn from, and one window of the context takes {needed}", "{todo}"),
        zh=("可供学习的只有 {tokens} 个词元，而上下文的一个窗口就需要 {needed} 个", "{todo}"),
    ),
    "MQ-3019": Entry(
        en=(
            "there are only {tokens} tokens to learn from, in {windows} windows of at most {needed}, fewer than the "
            "{batch} of a batch: the model will soon know them by heart",
            "bring more text, or lower medium.length and train.batch; train.best=true keeps the weights of the lowest "
            "held-out loss",
        ),
        zh=(
            "可供学习的只有 {tokens} 个词元，共 {windows} 个窗口（每个最多 {needed} 个），比一个批次的 {batch} 个还少："
            "模型很快就会把它们背下来",
            "请提供更多文字，或减小 medium.length 与 train.batch；train.best=true 会保留留出损失最低时的权重",
        ),
    ),
    "MQ-3020": Entry(
        en=(
            "only the first {read} s of this file were taken, the last {left} s left out",
            "cut the part that you want into a file of its own; what this model makes lasts {read} s",
        ),
        zh=(
            "只取了此文件开头的 {read} 秒，其余 {left} 秒未用",
            "请把需要的部分剪成单独的文件；此模型生成的内容长 {read} 秒",
        ),
    ),
    "MQ-3021": Entry(
        en=("this file carries no mark of Maquette", "name one that `maquette sample` or a server has made"),
        zh=("此文件没有 Maquette 的标识", "请给出由 `maquette sample` 或服务器生成的文件"),
    ),
    "MQ-3022": Entry(
        en=("this file was made with {name}, which is not known here", "make it again with the version that made it"),
        zh=("此文件生成时使用了 {name}，此版本不认识它", "请用生成它的版本重新生成"),
    ),
    "MQ-3023": Entry(
        en=(
            "this file was made by another model, whose weights begin with {made}, and not by {digest}",
            "name the run or bundle that made it",
        ),
        zh=("此文件由另一模型生成，其权重以 {made} 开头，而不是 {digest}", "请指明生成它的训练或模型包"),
    ),
    "MQ-3024": Entry(
        en=("its mark names what it does not hold: {missing}", "give the same again, by {options}"),
        zh=("其标识只写明用过、但不包含：{missing}", "请再次给出同样的内容：{options}"),
    ),
    "MQ-3025": Entry(
        en=("this file cannot be made again by itself: it was made by {option}", "make all of them again"),
        zh=("此文件无法单独重新生成：它是用 {option} 生成的", "请重新生成全部"),
    ),
    # -- 4xxx: busy ---------------------------------------------------------------------------------------------
    "MQ-4001": Entry(
        en=("this folder is in use by {holder}", "wait for it, stop it, or choose another --out"),
        zh=("此文件夹正被 {holder} 使用", "请等待或停止它，或换一个 --out"),
    ),
    "MQ-4020": Entry(
        en=("the server is busy: {waiting} requests are waiting", "try again in {seconds} s"),
        zh=("服务器繁忙：已有 {waiting} 个请求在等待", "请在 {seconds} 秒后重试"),
    ),
    "MQ-4021": Entry(
        en=("the server is shutting down", "try again when it is back"),
        zh=("服务器正在关闭", "请在其恢复后重试"),
    ),
    "MQ-4180": Entry(
        en=("there are {most} {what} already, and no more are allowed", "wait until one is done, or cancel one"),
        zh=("已有 {most} 个 {what}，不能再多", "请等待其中一个完成，或取消一个"),
    ),
    "MQ-4181": Entry(
        en=("the database is busy", "try again in a moment"),
        zh=("数据库正忙", "请稍后重试"),
    ),
    "MQ-4182": Entry(
        en=(
            "with this the files of this key would take {needed} bytes, and {most} are allowed",
            "delete some that no job needs any more; the operator can allow more: --storage GIB",
        ),
        zh=(
            "加上它，此密钥的文件将占 {needed} 字节，而允许的是 {most} 字节",
            "请删除不再有任务需要的文件；运营者可以放宽：--storage GIB",
        ),
    ),
    "MQ-4190": Entry(
        en=("cannot listen at {address}: {reason}", "choose another --port (0: any that is free) or --host"),
        zh=("无法监听 {address}：{reason}", "请换用其他 --port（0 表示任意空闲端口）或 --host"),
    ),
    # -- 5xxx: storage ------------------------------------------------------------------------------------------
    "MQ-5001": Entry(
        en=("could not write: {reason}", "free space or choose another folder; what was there before is untouched"),
        zh=("无法写入：{reason}", "请释放空间或换一个文件夹；原有内容未被改动"),
    ),
    "MQ-5002": Entry(
        en=("{bytes} bytes are needed and {free} are free", "free space or choose another folder"),
        zh=("需要 {bytes} 字节，只剩 {free} 字节", "请释放空间或换一个文件夹"),
    ),
    "MQ-5003": Entry(
        en=("this folder is damaged: {reason}", "use another copy; an intact one matches its MANIFEST.json"),
        zh=("文件夹已损坏：{reason}", "请换用另一份副本；完好的副本应与其 MANIFEST.json 一致"),
    ),
    "MQ-5004": Entry(
        en=("there is no such file or folder", "check the path"),
        zh=("没有这个文件或文件夹", "请检查路径"),
    ),
    "MQ-5005": Entry(
        en=("this already exists", "choose another name, or remove it first"),
        zh=("已经存在", "请换一个名字，或先将其删除"),
    ),
    "MQ-5006": Entry(
        en=(
            "this is there already and holds something else; nothing was written",
            "choose another place (--out, --grid, --clip), or let it be replaced: --overwrite",
        ),
        zh=(
            "已经存在，且内容不同；没有写入任何内容",
            "请换一个位置（--out、--grid、--clip），或用 --overwrite 允许替换",
        ),
    ),
    "MQ-5010": Entry(
        en=("there is a run here already", "continue it with `maquette resume {path}`, or choose another --out"),
        zh=("这里已有一次训练", "用 `maquette resume {path}` 继续，或换一个 --out"),
    ),
    "MQ-5011": Entry(
        en=("this is not a run: {reason}", "name the folder that `maquette train` made"),
        zh=("这不是训练文件夹：{reason}", "请给出 `maquette train` 生成的文件夹"),
    ),
    "MQ-5012": Entry(
        en=("the checkpoint {name} is damaged and was left aside: {reason}", "the one before it is used"),
        zh=("检查点 {name} 已损坏，已跳过：{reason}", "改用它之前的检查点"),
    ),
    "MQ-5013": Entry(
        en=("the run has no checkpoint that is whole: {reason}", "train again into another --out"),
        zh=("此训练没有完好的检查点：{reason}", "请用另一个 --out 重新训练"),
    ),
    "MQ-5180": Entry(
        en=("the database cannot be used: {reason}", "see to it that it is there and has room; nothing was accepted"),
        zh=("无法使用数据库：{reason}", "请确认数据库存在且有空间；没有接受任何内容"),
    ),
    "MQ-5181": Entry(
        en=("the database is damaged: {reason}", "stop the server and put back a copy of the file from before"),
        zh=("数据库已损坏：{reason}", "请停止服务器，并恢复先前的备份"),
    ),
    "MQ-5182": Entry(
        en=(
            "the files of this {what} cannot be read from this server's data folder",
            "let all servers of one database share one data folder, or ask the server that made it",
        ),
        zh=(
            "无法从此服务器的数据文件夹读取此 {what} 的文件",
            "请让共用一个数据库的服务器共用一个数据文件夹，或向生成它的服务器请求",
        ),
    ),
    "MQ-5183": Entry(
        en=(
            "the database belongs to another data folder, where the files of its jobs are",
            "give all servers of one database the same --data-folder, or start this one with --workers 0; if the files "
            "were moved here, write {id} into {file} in this folder",
        ),
        zh=(
            "此数据库属于另一个数据文件夹，其任务的文件在那里",
            "请让共用一个数据库的服务器使用同一个 --data-folder，或以 --workers 0 启动此服务器；"
            "若文件已移到这里，请将 {id} 写入此文件夹中的 {file}",
        ),
    ),
    # -- 6xxx: numbers ------------------------------------------------------------------------------------------
    "MQ-6001": Entry(
        en=(
            "step {step}: the {what} of {player!r} is not finite; training stopped before the update",
            "lower train.optimizers.{player}.lr, set train.clip, or look at the data of this step; `maquette resume` "
            "continues from the last good checkpoint",
        ),
        zh=(
            "第 {step} 步：{player!r} 的 {what} 不是有限数；已在更新之前停止训练",
            "请降低 train.optimizers.{player}.lr、设置 train.clip，或检查这一步的数据；"
            "`maquette resume` 从最近的完好检查点继续",
        ),
    ),
    "MQ-6010": Entry(
        en=(
            "before the first step the {what} of {player!r} is not finite",
            "look at the data (`maquette data check`) and at the model's settings",
        ),
        zh=(
            "训练开始之前，{player!r} 的 {what} 就不是有限数",
            "请检查数据（`maquette data check`）和模型设置",
        ),
    ),
    "MQ-6020": Entry(
        en=(
            "step {step}: samples differ {ratio} times as much as real items: the model may be losing modes",
            "lower the generator's rate, raise the batch, or regularise the critic (spectral norm, gradient penalty)",
        ),
        zh=(
            "第 {step} 步：样本之间的差异只有真实数据的 {ratio} 倍：模型可能正在坍缩到少数模式",
            "请降低生成器的学习率、增大批量，或对判别器加正则（谱归一化、梯度惩罚）",
        ),
    ),
    "MQ-6021": Entry(
        en=(
            "step {step}: {active} axes of the latent code carry something of the data: the decoder may be ignoring it",
            "lower beta, warm it up over more of the budget, or make the decoder weaker",
        ),
        zh=(
            "第 {step} 步：潜变量只有 {active} 个维度携带数据信息：解码器可能忽略了它",
            "请减小 beta、延长其预热，或减弱解码器",
        ),
    ),
    "MQ-6030": Entry(
        en=("all {n} trials failed; the last: {reason}", "narrow the space, or see whether the recipe trains alone"),
        zh=("{n} 次试验全部失败，最后一次：{reason}", "请缩小搜索空间，或先看这个配方能否单独训练"),
    ),
    "MQ-6031": Entry(
        en=("the score {name!r} is not finite", "look at the run's samples and losses"),
        zh=("分数 {name!r} 不是有限数", "请查看此训练的样本和损失"),
    ),
    "MQ-6080": Entry(
        en=("{share} of the samples are not finite numbers", "train it again at a lower rate, or draw in more steps"),
        zh=("{share} 的样本不是有限数", "请降低学习率重新训练，或增加采样步数"),
    ),
    # -- 7xxx: incompatible -------------------------------------------------------------------------------------
    "MQ-7001": Entry(
        en=("what is saved there does not fit: {reason}", "{todo}"),
        zh=("那里保存的内容与此不符：{reason}", "{todo}"),
    ),
    "MQ-7010": Entry(
        en=("this run was made otherwise: {differences}", "resume it as it was made, or train anew into another --out"),
        zh=("此训练当时的设定不同：{differences}", "请按原设定继续，或用另一个 --out 重新训练"),
    ),
    "MQ-7011": Entry(
        en=("the model does not fit the medium: {reason}", "change the model's net, or the medium, in the recipe"),
        zh=("模型与媒介不符：{reason}", "请修改配方中模型的网络或媒介"),
    ),
    "MQ-7012": Entry(
        en=(
            "the run was made with {differences}; its numbers may now differ in the last bits",
            "for the same bits, resume it as it was made",
        ),
        zh=("此训练当时使用 {differences}；结果的末位现在可能不同", "若要逐位一致，请按原环境继续"),
    ),
    "MQ-7020": Entry(
        en=("these are not the weights of the standard Inception: {reason}", "use the well-known file, unchanged"),
        zh=("这不是标准 Inception 的权重：{reason}", "请使用未经改动的公开文件"),
    ),
    "MQ-7021": Entry(
        en=("samples of {made} cannot be compared with these real ones of {real}", "prepare a reference from its data"),
        zh=("{made} 的样本无法与这些 {real} 的真实样本比较", "请用其数据重新准备参照"),
    ),
    "MQ-7030": Entry(
        en=(
            "this is neither a run nor a bundle",
            "name a folder that `maquette train` made, or the bundle/ in it; `maquette import` makes bundles of models "
            "from elsewhere",
        ),
        zh=(
            "这既不是训练文件夹，也不是模型包",
            "请给出 `maquette train` 生成的文件夹，或其中的 bundle/；`maquette import` 可把别处的模型做成模型包",
        ),
    ),
    "MQ-7031": Entry(
        en=("this run has no bundle yet", "`maquette resume {path}` finishes it"),
        zh=("此训练尚未生成模型包", "用 `maquette resume {path}` 完成训练"),
    ),
    "MQ-7032": Entry(
        en=(
            "something else was begun in this folder; it differs in {differences}",
            "repeat its command to continue it, or choose another --out",
        ),
        zh=("此文件夹中已开始了别的工作，不同之处：{differences}", "请用原来的命令继续，或换一个 --out"),
    ),
    "MQ-7040": Entry(
        en=("this model cannot be taken over: {reason}", "{todo}"),
        zh=("无法接收此模型：{reason}", "{todo}"),
    ),
    "MQ-7041": Entry(
        en=("this model cannot be written for another library: {reason}", "{todo}"),
        zh=("无法写成其他库的格式：{reason}", "{todo}"),
    ),
    "MQ-7042": Entry(
        en=(
            "this model cannot be averaged with {first}: other {differing}",
            "begin all of them from the same weights, with `maquette train --from`",
        ),
        zh=(
            "此模型不能与 {first} 取平均，不同之处：{differing}",
            "请用 `maquette train --from` 让它们从同一份权重开始",
        ),
    ),
    "MQ-7180": Entry(
        en=(
            "the database was made by a newer Maquette: its schema is {found}, this one knows {known}",
            "use that version, or another data folder",
        ),
        zh=(
            "数据库由更新版本的 Maquette 建立：其模式为 {found}，此版本只认识 {known}",
            "请使用该版本，或换一个数据文件夹",
        ),
    ),
    # -- 8xxx: refused for safety -------------------------------------------------------------------------------
    "MQ-8001": Entry(
        en=("refused: {reason}", "take the file from a source you trust, or make it again with maquette"),
        zh=("已拒绝：{reason}", "请从可信来源获取该文件，或用 maquette 重新生成"),
    ),
    "MQ-8002": Entry(
        en=("the content filter did not allow this item; it was not written", "change the request, or the filter"),
        zh=("内容过滤器未放行此项；没有写入", "请修改请求或过滤器"),
    ),
    "MQ-8003": Entry(
        en=(
            "refused: {name} is a pickle, which can run code when it is opened, and there is no model.safetensors",
            'in that folder: python -c "import torch, safetensors.torch as s; s.save_file(dict((k, t.clone()) for k, t '
            "in torch.load('{name}', weights_only=True).items()), 'model.safetensors')\"",
        ),
        zh=(
            "已拒绝：{name} 是 pickle 文件，打开时可能执行代码，而这里没有 model.safetensors",
            '请在该文件夹中运行：python -c "import torch, safetensors.torch as s; s.save_file(dict((k, t.clone()) '
            "for k, t in torch.load('{name}', weights_only=True).items()), 'model.safetensors')\"",
        ),
    ),
    "MQ-8010": Entry(
        en=(
            "refused to be reached at {host} without keys: whoever reaches it could use its models and its time",
            "one of: (1) leave out --host and --name, so that only this machine reaches it; (2) `maquette keys create "
            "NAME`, then serve again; (3) --key-file FILE, which makes a first key; (4) leave out both and bring "
            "clients by an SSH tunnel",
        ),
        zh=(
            "已拒绝在没有密钥时以 {host} 对外提供服务：任何能访问它的人都可以使用其模型和算力",
            "任选其一：(1) 去掉 --host 和 --name，只让本机访问；(2) 先运行 `maquette keys create 名称` 再启动；"
            "(3) 使用 --key-file 文件，生成第一个密钥；(4) 两者都去掉，通过 SSH 隧道接入",
        ),
    ),
    "MQ-8011": Entry(
        en=("the operator's rules do not allow this", "change the request"),
        zh=("运营者的规则不允许此内容", "请修改请求"),
    ),
}
