"""Signatures of the commands as functions; tools/python_api.py writes this file."""

# fmt: off
# ruff: noqa: D417 (parameters of fit are described there alone)
import os
from types import ModuleType
from typing import Any, Literal, Optional, Sequence, Tuple, Union

from imagenet_trainer.config.evaluated import (
    EvaluateResult,
)
from imagenet_trainer.config.measured import (
    BenchmarkResult,
    BottleneckResult,
    DoctorResult,
)
from imagenet_trainer.config.results import (
    CompareResult,
    ExportResult,
    FitResult,
    PredictResult,
    PublishedResult,
)

Text = Union[str, os.PathLike[str]]

__version__: str

class _Fit(ModuleType):
    def __call__(
        self,
        *,
        engine: Union[Literal['auto', 'mxnet', 'torch'], str] = 'auto',
        gpus: Union[str, int, Sequence[int]] = (),
        cpus: int = 1,
        compile: Literal['auto', 'on', 'off'] = 'auto',
        cache_dir: Text = '',
        cache_size: Text = '',
        data_val: Union[Text, Sequence[Text]] = 'data/val.rec',
        data_val_idx: Text = '',
        label_index: Optional[int] = None,
        image_shape: Union[str, int, Sequence[int]] = (3, 224, 224),
        rgb_mean: Union[str, float, Sequence[float]] = (123.68, 116.779, 103.939),
        rgb_std: Union[str, float, Sequence[float]] = (1.0, 1.0, 1.0),
        bgr: bool = False,
        val_resize: int = 0,
        val_interp: Literal['bilinear', 'area', 'bicubic', 'pil-bilinear', 'pil-bicubic'] =
            'bilinear',
        data_nthreads: int = 0,
        on_bad_record: Literal['stop', 'skip', 'zero'] = 'stop',
        data_train: Union[Text, Sequence[Text]] = 'data/train.rec',
        data_train_idx: Text = '',
        multi_label: bool = False,
        image_size_schedule: Text = '',
        shuffle_window: int = 0,
        repeated_augmentation: int = 1,
        decode: Literal['cpu', 'gpu'] = 'cpu',
        train_fraction: float = 1.0,
        minival: float = 0.0,
        folds: int = 0,
        fold: int = 0,
        sample_weights: Text = '',
        num_classes: Optional[int] = None,
        num_examples: Optional[int] = None,
        benchmark: bool = False,
        test_io: bool = False,
        random_resized_crop: bool = True,
        min_random_area: float = 0.08,
        max_random_area: float = 1.0,
        min_random_aspect_ratio: float = 0.75,
        max_random_aspect_ratio: float = 1.3333333333333333,
        random_crop: bool = False,
        random_mirror: bool = True,
        pad_size: int = 0,
        fill_value: int = 127,
        decode_scale: bool = False,
        max_random_rotate_angle: float = 0.0,
        max_random_shear_ratio: float = 0.0,
        min_random_scale: float = 1.0,
        max_random_scale: float = 1.0,
        max_random_h: float = 0.0,
        max_random_s: float = 0.0,
        max_random_l: float = 0.0,
        max_random_channel_shift: float = 0.0,
        brightness: float = 0.0,
        contrast: float = 0.0,
        saturation: float = 0.0,
        pca_noise: float = 0.0,
        auto_augment: Union[Literal['none', 'trivial', 'rand', 'three'], str] = 'none',
        rand_augment_magnitude: int = 9,
        random_erasing: float = 0.0,
        train_interp: Literal['bilinear', 'bicubic', 'area'] = 'bilinear',
        use_imagenet_data_augmentation: bool = False,
        network: Text = 'resnet',
        num_layers: Optional[int] = None,
        activation: Literal['relu', 'elu'] = 'relu',
        blur_pool: bool = False,
        stochastic_depth: float = 0.0,
        pretrained: Union[str, Tuple[Text, Union[int, Literal['best']]], None] = None,
        layer_before_fullc: Text = '',
        freeze: Text = '',
        pretrained_lr_factor: float = 1.0,
        lr_schedule: Literal['step', 'poly', 'cosine', 'triangle', 'one-cycle'] = 'step',
        lr_step_every: Optional[float] = None,
        lr_power: float = 2.0,
        lr_start: Optional[float] = None,
        lr_peak_epoch: Optional[float] = None,
        lr_final: float = 0.0,
        lr_scale_batch: int = 0,
        show_schedule: bool = False,
        find_lr: int = 0,
        find_lr_range: Union[str, float, Sequence[float]] = (1e-05, 10.0),
        mixup: float = 0.0,
        cutmix: float = 0.0,
        mixup_cutmix_switch: float = 0.5,
        config: Text = '',
        set: Union[Text, Sequence[Text]] = (),
        recipe: Text = '',
        clip_gradient: Optional[float] = None,
        clip_gradient_norm: Optional[float] = None,
        label_smoothing: float = 0.0,
        teacher: Union[str, Tuple[Text, Union[int, Literal['best']]], None] = None,
        teacher_weight: float = 0.5,
        class_weights: Text = '',
        bce_loss: bool = False,
        bce_target_threshold: float = 0.0,
        no_bias_decay: bool = False,
        accumulate: int = 1,
        sync_batch_norm: bool = False,
        checkpoint_activations: bool = False,
        ema: float = 0.0,
        ema_warmup: bool = False,
        zero_last_gamma: bool = False,
        optimizer: Literal['sgd', 'nag', 'adam', 'lbsgd', 'rmsprop', 'rmsproptf', 'rmsproptorch',
            'adagrad', 'adadelta', 'adamax', 'nadam', 'ftml', 'signum', 'lamb', 'adamw', 'lion'] =
            'sgd',
        lr: float = 0.1,
        lr_factor: float = 0.1,
        lr_step_epochs: Union[str, float, Sequence[float]] = (30.0, 60.0),
        warmup_epochs: float = 0.0,
        warmup_strategy: Literal['linear', 'power2', 'sqrt', 'lars'] = 'linear',
        mom: float = 0.9,
        wd: float = 0.0001,
        batch_size: int = 128,
        initializer: Literal['default', 'xavier', 'msra', 'orthogonal', 'normal', 'uniform', 'one',
            'zero'] = 'default',
        dtype: Literal['float32', 'tf32', 'float16', 'bfloat16'] = 'float32',
        deterministic: bool = False,
        gc_type: Literal['none', '2bit'] = 'none',
        gc_threshold: float = 0.5,
        kv_store: Text = 'device',
        num_epochs: int = 80,
        seed: int = 0,
        seeds: int = 1,
        model_prefix: Union[Text, None] = None,
        load_epoch: Optional[int] = None,
        save_period: int = 1,
        keep: int = 0,
        patience: int = 0,
        checkpoint_minutes: float = 10.0,
        save_patience: float = 1.0,
        on_nan: Literal['stop', 'rollback'] = 'stop',
        max_rollbacks: int = 3,
        disp_batches: int = 20,
        top_k: int = 0,
        loss: Union[Text, Sequence[Text]] = (),
        confusion_gif: bool = False,
        find_batch: bool = False,
        monitor: int = 0,
        tensorboard: bool = True,
        track: Union[Text, Sequence[Text]] = (),
        parquet: bool = False,
        json: bool = False,
        observers: Union[Text, Sequence[Text]] = (),
        when_done: Union[str, Sequence[str]] = (),
        show_config: bool = False,
        summary: bool = False,
    ) -> FitResult:
        """Train a network on packed images; called again, continue the run.

        Raises InputError for what the command line refuses, and KeyboardInterrupt after a signal,
        when the run is saved.

        Parameters
        ----------
        engine
            library that executes the network; auto: that of a resumed run; else MXNet if it
            supports the devices, unless doctor --measure found PyTorch faster; else PyTorch
        gpus
            GPUs to use, such as 0 or 0,2,5; by default the CPU
        cpus
            data-parallel CPU contexts without --gpus; more than one is for tests
        compile
            whether PyTorch compiles the network; auto: on GPUs, except to classify files
        cache_dir
            folder that keeps parts of shards on an object storage (s3://, gs://, hf://,
            https://); by default imagenet-trainer/blocks in the user's cache folder
        cache_size
            most that --cache-dir may hold, such as 200GB: what was not used for the longest
            time is removed; 0: keep nothing; by default 50GB
        data_val
            validation shard, or its URL; several: separated by commas, or a pattern in
            quotes
        data_val_idx
            index of --data-val; by default the file next to it with the extension .idx
        label_index
            which label of a record is its class, from 0, where records have several;
            default: the only one
        image_shape
            shape of the network's input: channels,height,width in pixels
        rgb_mean
            mean of red, green, blue (0-255), which is subtracted
        rgb_std
            standard deviation of red, green, blue; divides the difference
        bgr
            1: the network takes blue, green, red, as those converted from Caffe; --rgb-mean
            and --rgb-std stay in the order red, green, blue
        val_resize
            short side in pixels to which validation images are resized before the centre
            crop; 0: the crop's side times 256/224, or the crop's side for crops of up to 64
            pixels
        val_interp
            how validation images are resized; bilinear, area and bicubic all average areas
            if both sides are halved or more; pil-bilinear and pil-bicubic: bit for bit as
            Pillow and torchvision
        data_nthreads
            decoding threads; 0: one when training on CPUs, otherwise processors minus one,
            at most 16. The order and content of images do not depend on it
        on_bad_record
            reaction to a record that has changed since it was packed, or cannot be decoded;
            skip: train on the next image instead, and leave it out of validation; zero: a
            black image with its label. Each is logged
        data_train
            training shard, or its URL; several: separated by commas, or a pattern in quotes
        data_train_idx
            index of --data-train; by default the file next to it with the extension .idx
        multi_label
            1: images have several classes: the labels of a record are all of them, as
            numbers or as 0 and 1 for each class. The loss is the mean binary cross-entropy,
            and the best epoch is that of the highest mean average precision
        image_size_schedule
            progressive resizing: height and width of the training images from each epoch
            on, such as 0:160,11:176,13:192; by default --image-shape, which validation
            always has
        shuffle_window
            for slow disks: shuffle within windows of N images. A window is read
            sequentially ahead of its use, and two must fit into memory; 0: shuffle all
            images
        repeated_augmentation
            number of times that each image is in a batch, augmented differently (Hoffer et
            al. 2019; DeiT has 3); an epoch then has a part of the images
        decode
            where training images are decoded and augmented; gpu: on the training GPUs, by
            NVIDIA DALI (--engine torch). Order and augmentation are the same, pixels differ
            by rounding
        train_fraction
            train on this fraction of the training images, sampled by --seed; a larger
            fraction contains the images of a smaller one
        minival
            hold back this share of the training images (below 1), or this many, chosen by
            --seed: the best epoch, --patience and evaluate --calibrate then use their score
            instead of the validation score; 0: none
        folds
            divide the training images into N folds by --seed, for cross-validation; 0: do
            not
        fold
            with --folds: hold back this fold, 1 to N. It is the validation set instead of
            --data-val
        sample_weights
            balanced sampling: how often an image is visited, by its class; inverse: all
            classes equally often; sqrt: as often as the square root of their numbers of
            images; else a CSV file with a line CLASS,WEIGHT for each class. An epoch keeps
            its length
        num_classes
            number of classes, checked against the shard's manifest; 1000 without a manifest
        num_examples
            training images in the shard, before --train-fraction; checked against its index
        benchmark
            1: train on synthetic images in memory, to measure throughput
        test_io
            1: read and augment the images without training
        random_resized_crop
            1: crop a random area with a random aspect ratio and resize it (Szegedy et al.
            2014)
        min_random_area
            smallest area of the crop, as a fraction of the image
        max_random_area
            largest area of the crop, as a fraction of the image
        min_random_aspect_ratio
            smallest aspect ratio (width / height) of the crop
        max_random_aspect_ratio
            largest aspect ratio (width / height) of the crop
        random_crop
            1: without --random-resized-crop, crop at a random position instead of the
            centre
        random_mirror
            1: flip half of the images horizontally
        pad_size
            pixels added on every side before a random crop
        fill_value
            value of padding, and of the corners after rotation or shear
        decode_scale
            1: decode JPEGs at half their size where the crop has at least twice the sides
            of --image-shape: faster for large images; pixels differ slightly. Training
            images only
        max_random_rotate_angle
            largest rotation, in degrees
        max_random_shear_ratio
            largest shear, as dx / dy
        min_random_scale
            smallest scale; below 1 the image gets smaller
        max_random_scale
            largest scale
        max_random_h
            largest change of hue, in degrees
        max_random_s
            largest change of saturation, of 255
        max_random_l
            largest change of lightness, of 255
        max_random_channel_shift
            largest value added to red, green and blue independently, of 255
        brightness
            colours are scaled by 1 - N to 1 + N
        contrast
            contrast is scaled by 1 - N to 1 + N
        saturation
            saturation is scaled by 1 - N to 1 + N
        pca_noise
            standard deviation of the PCA lighting noise (Krizhevsky et al. 2012)
        auto_augment
            random operations after the crop. trivial: one of random strength
            (TrivialAugment Wide, Mueller and Hutter 2021); rand: two of
            --rand-augment-magnitude (RandAugment, Cubuk et al. 2019); three: grey,
            solarised or blurred (3-Augment, Touvron et al. 2022)
        rand_augment_magnitude
            strength of --auto-augment rand, of 30
        random_erasing
            probability that a rectangle, a fiftieth to a third of the image, is filled with
            --fill-value (Zhong et al. 2017)
        train_interp
            interpolation of the resize in training. bilinear, bicubic: areas are averaged
            where both sides are halved or more; area: always
        use_imagenet_data_augmentation
            1: add jitter of 0.4 to brightness, contrast and saturation, PCA noise of 0.1,
            and --rgb-std 58.393,57.12,57.375
        network
            name of the network, gluoncv/NAME, or a file of your own: a .py with get_symbol,
            which is run, or MXNet's NAME-symbol.json; list prints all names
        num_layers
            depth, for families with several (resnet: 50)
        activation
            activation function of SqueezeNet
        blur_pool
            1: blur the inputs of strided convolutions of 16 channels or more, and of
            DenseNet's average poolings (Zhang 2019)
        stochastic_depth
            probability of dropping the last residual branch in training; it falls linearly
            to the first one (Huang et al. 2016)
        pretrained
            start from the parameters of PREFIX-EPOCH.params with a new classifier; without
            --network use the network of PREFIX-symbol.json. EPOCH may be best
        layer_before_fullc
            with --pretrained: replace everything after this layer by a dense layer; by
            default replace the last layer with weights
        freeze
            do not train parameters whose names match this at their start
        pretrained_lr_factor
            factor of the learning rate for parameters from --pretrained
        lr_schedule
            step: multiplied by --lr-factor at each step; poly, cosine: decays to --lr-final
            at the end of the last epoch; triangle, one-cycle: rises from --lr-start to --lr
            at --lr-peak-epoch first, on a line or a cosine, and falls the same way
        lr_step_every
            step the learning rate after every EPOCHS epochs, instead of at --lr-step-epochs
        lr_power
            exponent of --lr-schedule poly
        lr_start
            first learning rate of triangle and one-cycle; by default --lr / 25
        lr_peak_epoch
            epoch at which triangle and one-cycle reach --lr; by default 0.3 of --num-epochs
        lr_final
            final learning rate of all schedules but step, and lower bound of step
        lr_scale_batch
            batch size for which --lr is meant (without a value: 256): the learning rate is
            multiplied by --batch-size / BATCH (Goyal et al. 2017); 0: no scaling
        show_schedule
            print the learning rates and plot them to schedule.png of the run, without
            training; with --num-examples it needs no data
        find_lr
            learning-rate range test (Smith 2015): train for UPDATES updates (without a
            value: 100) at increasing learning rates and plot the loss to lr-range.png of
            the run; saves no parameters
        find_lr_range
            first and last learning rate of --find-lr
        mixup
            mix each image with its neighbour in the batch, with weights from Beta(ALPHA,
            ALPHA) (Zhang et al. 2017; 0.2 for ImageNet); 0: off
        cutmix
            replace a rectangle of each image by its neighbour's; the area it leaves is from
            Beta(ALPHA, ALPHA) (Yun et al. 2019; 1 for ImageNet); 0: off
        mixup_cutmix_switch
            with --mixup and --cutmix: the probability that an image is cut instead of
            blended
        config
            YAML or JSON file of flags, such as config.json of a run; the command line
            overrides it
        set
            values as in a file of --config, which they override, for programs that write
            NAME=VALUE; null: as if the file did not have the name
        recipe
            flags of a named experiment, which flags on the command line override; list:
            print all
        clip_gradient
            clip every element of the batch's mean gradient to -N ... N
        clip_gradient_norm
            scale the batch's mean gradient of all parameters down to this L2 norm where it
            is larger (Pascanu et al. 2013)
        label_smoothing
            fraction of each target spread evenly over all classes (Szegedy et al. 2015)
        teacher
            knowledge distillation (Hinton et al. 2015): a trained network of the same
            classes, PREFIX-EPOCH.params, whose predictions for each augmented image are a
            part of its target. EPOCH may be best
        teacher_weight
            share of the teacher in each target, with --teacher
        class_weights
            weights of the classes in the loss; inverse: one over their numbers of images;
            sqrt: one over its square root; else a CSV file with a line CLASS,WEIGHT for
            each class. Scaled so that their mean over the training images is 1
        bce_loss
            1: the loss is the mean binary cross-entropy of all classes instead of the
            cross-entropy of the softmax (Wightman et al. 2021)
        bce_target_threshold
            with --bce-loss: targets above this become 1, the others 0, as both labels of a
            mixed image (0.2 in Wightman et al. 2021); 0: targets stay
        no_bias_decay
            1: no weight decay of gammas (biases and betas never have any)
        accumulate
            compute each batch in N parts, one after the other, to save memory; BatchNorm
            normalises each part separately
        sync_batch_norm
            1: BatchNorm normalises over the images of all of PyTorch's processes, instead
            of each process's own (Peng et al. 2017)
        checkpoint_activations
            1: PyTorch computes activations again in the backward pass instead of keeping
            them (Chen et al. 2016): larger batches fit, an update takes longer
        ema
            keep an exponential moving average of the parameters with this decay, such as
            0.9999; checkpoints and validation use the average; 0: off
        ema_warmup
            1: with --ema, update t uses the decay (1 + t) / (10 + t) while that is smaller,
            so that the first parameters are forgotten early (as in TensorFlow)
        zero_last_gamma
            1: initialise residual branches to zero: the gamma of the BatchNorm at their
            end, or the weights of the convolution if they end with one, as in ResNet v2
            (Goyal et al. 2017)
        optimizer
            update rule; those of MXNet's optimizers of the same names
        lr
            learning rate; 0.1 suits ResNet with batches of 256
        lr_factor
            factor of the learning rate at each step
        lr_step_epochs
            epochs at whose start the learning rate is multiplied by --lr-factor
        warmup_epochs
            epochs over which the learning rate rises from zero
        warmup_strategy
            shape of the warm-up; lars: none, with the layer-wise rates that lbsgd always
            has
        mom
            momentum of sgd, nag, lbsgd, signum, rmsproptf, rmsproptorch
        wd
            weight decay of weights and gammas
        batch_size
            images per update, over all devices of all workers
        initializer
            initial parameters; default: as in the network's paper or its MXNet script
        dtype
            type of convolutions and dense layers: float16 on GPUs, bfloat16 on CPUs with
            instructions for it, all on recent GPUs with PyTorch; tf32: float32 whose
            products have 10 bits of precision; parameters stay float32
        deterministic
            1: only algorithms that repeat a training bit for bit on the same kind of GPU
            (PyTorch; on CPUs all are), which may be slower
        gc_type
            gradient compression between devices
        gc_threshold
            threshold of the gradient compression
        kv_store
            how gradients are summed over devices and workers: local, device, nccl,
            dist_sync, dist_device_sync, dist_async, dist_device_async
        num_epochs
            number of epochs: passes over the training images
        seed
            seed of all random numbers
        seeds
            train N runs with the seeds from --seed on, in seed-SEED/ of the run's folder,
            and report mean and deviation of their scores
        model_prefix
            prefix of the run's files; by default runs/NETWORK-LAYERS/model. An existing run
            is continued
        load_epoch
            continue from this epoch of the run instead of its newest
        save_period
            epochs between numbered checkpoints
        keep
            keep only the N newest numbered checkpoints and the best one, which is then
            numbered regardless of --save-period; 0: keep all
        patience
            stop after N epochs in a row without a better one, by the accuracy on the images
            of --minival, or without the flag on the validation images; 0: never
        checkpoint_minutes
            minutes between checkpoints within an epoch; 0: none
        save_patience
            minutes of retries when a file cannot be written (full disk, lost network file
            system) before the run stops
        on_nan
            reaction to a loss or a parameter that is infinite or NaN; rollback: continue
            from the newest numbered checkpoint at half the learning rate
        max_rollbacks
            rollbacks after which the run stops
        disp_batches
            batches between two log lines
        top_k
            also log the top-K accuracy of the training images, such as 5
            (top_k_accuracy_5); 0: do not
        loss
            also log these losses of the training images; ce: cross-entropy, nll: the same
            as nll-loss
        confusion_gif
            1: after each epoch, draw the validation confusion matrix of all epochs so far
            to confusion.fit.gif
        find_batch
            measure the largest batch that fits into memory, without training (GPUs:
            --engine torch)
        monitor
            log the root mean square of every tensor, every N batches; 0: never
        tensorboard
            1: write TensorBoard event files to the run's folder
        track
            also record the scalars of TensorBoard by these services, whose own variables
            (WANDB_..., MLFLOW_...) apply; tensorboard: as --tensorboard 1. A failure of one
            stops no training
        parquet
            1: also write history.csv as history.parquet (needs pyarrow)
        json
            print each event of the run on standard output, as a line of JSON as in
            events.jsonl
        observers
            plug-ins that get the events of the run, as events.jsonl does
        when_done
            command to run after the run finished or failed, but not after a signal. It runs
            without a shell; {how}, {exit_code} and {prefix} in its arguments are replaced
        show_config
            print every flag with its value and where it is from, as a file for --config,
            and exit
        summary
            print the layers of the network and their cost, without data, and exit

        """
    def call(self, **flags: Any) -> Any: ...
    def main(self, argv: Optional[Sequence[str]] = None) -> int: ...

fit: _Fit

class _Evaluate(ModuleType):
    def __call__(
        self,
        *,
        model_prefix: Union[Text, None] = None,
        engine: Union[Literal['auto', 'mxnet', 'torch'], str] = 'auto',
        gpus: Union[str, int, Sequence[int]] = (),
        cpus: int = 1,
        compile: Literal['auto', 'on', 'off'] = 'auto',
        order: Literal['imagenet', 'wordnet', 'cluster'] = 'imagenet',
        figure_formats: Union[Text, Sequence[Text]] = (),
        figure_top_k: Optional[Literal[1, 5]] = None,
        figure_shares: bool = False,
        figure_scale: Literal['equalised', 'linear', 'log'] = 'equalised',
        figure_colours: Literal['green', 'cividis', 'viridis', 'grey'] = 'green',
        figure_without: Union[Text, Sequence[Text]] = (),
        cache_dir: Text = '',
        cache_size: Text = '',
        val_resize: Optional[int] = None,
        val_interp: Optional[Literal['bilinear', 'area', 'bicubic', 'pil-bilinear', 'pil-bicubic']]
            = None,
        rgb_mean: Union[str, float, Sequence[float], None] = None,
        rgb_std: Union[str, float, Sequence[float], None] = None,
        bgr: Optional[bool] = None,
        image_shape: Union[str, int, Sequence[int], None] = None,
        classes: Text = '',
        calibrated: bool = False,
        crops: Literal[1, 10] = 1,
        flip: bool = False,
        epochs: Union[str, int, Sequence[int], None] = None,
        compare: Sequence[Union[str, int]] = (),
        audit: Union[Text, Sequence[Text]] = (),
        calibrate: Union[Text, Sequence[Text]] = '',
        data_val: Union[Text, Sequence[Text]] = '',
        data_val_idx: Text = '',
        label_index: Optional[int] = None,
        find_preprocessing: bool = False,
        find_images: int = 200,
        real_labels: Text = '',
        labels: Text = '',
        multi_label: bool = False,
        corruptions: bool = False,
        corruption_images: int = 500,
        restrict_classes: bool = False,
        top_k: Union[str, int, Sequence[int]] = (),
        save_predictions: bool = False,
        table: Union[Text, Sequence[Text]] = (),
        batch_size: int = 64,
        data_nthreads: int = 0,
        on_bad_record: Literal['stop', 'skip', 'zero'] = 'stop',
        cache_memory: float = 0.5,
        gif: bool = False,
        gif_axes: bool = False,
        video: Literal['', 'mp4', 'webm'] = '',
        tensorboard: bool = False,
        output: Text = '',
        again: bool = False,
        report: bool = False,
        open: bool = False,
        thumbnails: Literal['auto', 'all', 'errors', 'none'] = 'auto',
        features: bool = False,
        explain: int = 0,
        explain_nearest: int = 5,
        explain_images: int = 50000,
        data_train: Union[Text, Sequence[Text]] = '',
        map: Literal['pca', 'umap'] = 'pca',
        review: Text = '',
    ) -> EvaluateResult:
        """Evaluate trained networks on validation images, and print the results.

        Raises InputError for what the command line refuses.

        Parameters
        ----------
        model_prefix
            prefix of the run, or SageMaker's model.tar.gz; by default the newest run in
            runs/
        engine
            library that executes the network; auto: that of a resumed run; else MXNet if it
            supports the devices, unless doctor --measure found PyTorch faster; else PyTorch
        gpus
            GPUs to use, such as 0 or 0,2,5; by default the CPU
        cpus
            data-parallel CPU contexts without --gpus; more than one is for tests
        compile
            whether PyTorch compiles the network; auto: on GPUs, except to classify files
        order
            order of the classes in plots; imagenet: by label; wordnet: by group in WordNet;
            cluster: confused classes next to each other
        figure_formats
            also draw the matrix with axes in these formats, beside its PNG file; svg, pdf
        figure_top_k
            predictions of each image that figures count, of up to five classes only the
            first; by default 5, and 1 in the difference that --compare draws
        figure_shares
            figures show shares of the images of the true class instead of counts
        figure_scale
            from counts to colours; equalised: by their rank among all cells
        figure_colours
            palette of figures; cividis and viridis suit colour vision deficiency
        figure_without
            what figures leave out: diagonal, and empty for classes without images
        cache_dir
            folder that keeps parts of shards on an object storage (s3://, gs://, hf://,
            https://); by default imagenet-trainer/blocks in the user's cache folder
        cache_size
            most that --cache-dir may hold, such as 200GB: what was not used for the longest
            time is removed; 0: keep nothing; by default 50GB
        val_resize
            short side in pixels to which images are resized before the centre crop; 0: the
            crop's side times 256/224; by default as in training
        val_interp
            how images are resized, as in fit; by default as in training
        rgb_mean
            mean of red, green, blue (0-255), which is subtracted; by default as in
            training, needed for checkpoints of other programs
        rgb_std
            standard deviation of red, green, blue, which divides the difference; by default
            as in training, 1,1,1 for checkpoints of other programs
        bgr
            1: the network takes blue, green, red; by default as in training
        image_shape
            shape of the network's input, such as 3,288,288; by default the checkpoint's
        classes
            names of the network's outputs, in their order, for checkpoints of other
            programs: imagenet; a text file with a class per line, a JSON file or a
            manifest; the PREFIX of a run; by default the checkpoint's, or ImageNet's for
            1000 outputs
        calibrated
            1: divide the logits by the temperature that evaluate --calibrate fitted for the
            epoch
        crops
            10: corners and centre, and their mirror images; predictions are averaged
        flip
            average the predictions for the image and its mirror image
        epochs
            epochs to evaluate: 7, 1-30, 1,5,9, best or all; by default the newest
        compare
            compare two checkpoints: epochs of the run (numbers or best), or PREFIX or
            PREFIX,EPOCH
        audit
            find labels of the training set that are probably wrong: prefixes of the runs of
            all folds (fit --folds), separated by commas, or a pattern in quotes
        calibrate
            fit a temperature for the probabilities of each epoch, on the images that
            --minival held back (without a value), or on shards; then evaluate without and
            with it
        data_val
            shard to evaluate on; by default the run's validation shard
        data_val_idx
            index of --data-val; by default the file next to it with the extension .idx
        label_index
            which label of a record is its class, from 0, where records have several; by
            default that of the training
        find_preprocessing
            try the usual preprocessings on some images and print which fits, with its flags
        find_images
            number of images of --find-preprocessing
        real_labels
            real.json of ReaL: the right classes of ImageNet's validation images, of which
            an image may have several or none
        labels
            CSV file with the columns image (or key) and label, which replace labels of the
            shard
        multi_label
            the labels of a record are all classes of its image, as numbers or as 0 and 1
            for each class; also report the mean average precision
        corruptions
            accuracy in the 15 corruptions of ImageNet-C, in five strengths each
        corruption_images
            number of images of --corruptions, evenly spaced in the shard; 0: all
        restrict_classes
            only the classes of which the shard has images compete, as for ImageNet-A and -R
        top_k
            also report the top-K accuracy, such as 3 or 3,10
        save_predictions
            also write the probabilities of all classes to probabilities-EPOCH.npz
        table
            also write the predictions for each image as a table: csv, parquet (needs
            pyarrow), or csv,parquet
        batch_size
            images per batch; results do not depend on it
        data_nthreads
            decoding threads; 0: as in fit
        on_bad_record
            reaction to a record that has changed since it was packed, or cannot be decoded;
            skip: leave it out of the result; zero: a black image with its label
        cache_memory
            fraction of the free memory for decoded images, so that several epochs decode
            them once; 0: decode for every epoch
        gif
            also draw the confusion matrix over the epochs as a GIF
        gif_axes
            draw --gif and --video with axes, groups, legend and the curve of the accuracy
        video
            also draw the confusion matrix over the epochs as a video; needs ffmpeg
        tensorboard
            also write the figure of the matrix of each epoch as an image for TensorBoard
        output
            folder for all files that evaluate writes; by default the run's, or NAME-results
            in a folder with several networks. If the run's is read-only, results are only
            printed
        again
            compute epochs again that were evaluated before
        report
            also write report.html: curves, matrix, classes and images of the last epoch
        open
            open the report of --report in the browser, if there is a screen
        thumbnails
            images with a thumbnail in the folder beside report.html; auto: all, or the
            errors of a dataset with more than 100,000 images
        features
            also write what the layer before the classifier computes for each image of the
            last epoch, and the same for TensorBoard's projector
        explain
            also show why the N worst errors of the last epoch were made (24 without a
            value): which parts of the image speak for the predicted and for the labelled
            class (Grad-CAM), and the nearest training images; in explain-EPOCH.csv, .jpg
            and the report; 0: do not
        explain_nearest
            nearest training images of each error of --explain; 0: none
        explain_images
            number of training images among which --explain looks for the nearest, a random
            sample where there are more; 0: all
        data_train
            training shard of --explain; by default the run's
        map
            how --report draws the map of --features; pca: principal components; umap:
            neighbours, needs umap-learn
        review
            list of images with wrong or ambiguous labels, saved by the report or written by
            --audit: also print the accuracy without them, and with the right classes

        """
    def call(self, **flags: Any) -> Any: ...
    def main(self, argv: Optional[Sequence[str]] = None) -> int: ...

evaluate: _Evaluate

class _Predict(ModuleType):
    def __call__(
        self,
        *,
        model_prefix: Union[Text, None] = None,
        epoch: Union[int, Literal['best'], None] = None,
        engine: Union[Literal['auto', 'mxnet', 'torch'], str] = 'auto',
        gpus: Union[str, int, Sequence[int]] = (),
        cpus: int = 1,
        compile: Literal['auto', 'on', 'off'] = 'auto',
        val_resize: Optional[int] = None,
        val_interp: Optional[Literal['bilinear', 'area', 'bicubic', 'pil-bilinear', 'pil-bicubic']]
            = None,
        rgb_mean: Union[str, float, Sequence[float], None] = None,
        rgb_std: Union[str, float, Sequence[float], None] = None,
        bgr: Optional[bool] = None,
        image_shape: Union[str, int, Sequence[int], None] = None,
        classes: Text = '',
        calibrated: bool = False,
        crops: Literal[1, 10] = 1,
        flip: bool = False,
        pictures: Union[Text, Sequence[Text]],
        top_k: int = 5,
        batch_size: int = 16,
        data_nthreads: int = 0,
        csv: Text = '',
        parquet: bool = False,
        submission: Text = '',
        submission_kind: Literal['label', 'probability', 'probabilities', 'imagenet'] = 'label',
        submission_class: Text = '',
        clip: float = 0.0,
        latency: bool = False,
        latency_rounds: int = 100,
    ) -> PredictResult:
        """Classify image files; write the files of `csv` and `submission`, if they are given.

        Raises InputError for the first file that is not an image, for `latency`, which only the
        command line measures, and for what the command line refuses.

        Parameters
        ----------
        model_prefix
            prefix of the run, or SageMaker's model.tar.gz; by default the newest run in
            runs/
        epoch
            epoch of the run, or best; by default the newest
        engine
            library that executes the network; auto: that of a resumed run; else MXNet if it
            supports the devices, unless doctor --measure found PyTorch faster; else PyTorch
        gpus
            GPUs to use, such as 0 or 0,2,5; by default the CPU
        cpus
            data-parallel CPU contexts without --gpus; more than one is for tests
        compile
            whether PyTorch compiles the network; auto: on GPUs, except to classify files
        val_resize
            short side in pixels to which images are resized before the centre crop; 0: the
            crop's side times 256/224; by default as in training
        val_interp
            how images are resized, as in fit; by default as in training
        rgb_mean
            mean of red, green, blue (0-255), which is subtracted; by default as in
            training, needed for checkpoints of other programs
        rgb_std
            standard deviation of red, green, blue, which divides the difference; by default
            as in training, 1,1,1 for checkpoints of other programs
        bgr
            1: the network takes blue, green, red; by default as in training
        image_shape
            shape of the network's input, such as 3,288,288; by default the checkpoint's
        classes
            names of the network's outputs, in their order, for checkpoints of other
            programs: imagenet; a text file with a class per line, a JSON file or a
            manifest; the PREFIX of a run; by default the checkpoint's, or ImageNet's for
            1000 outputs
        calibrated
            1: divide the logits by the temperature that evaluate --calibrate fitted for the
            epoch
        crops
            10: corners and centre, and their mirror images; predictions are averaged
        flip
            average the predictions for the image and its mirror image
        pictures
            image files, folders, or patterns in quotes
        top_k
            number of classes to report for each image
        batch_size
            images per batch; predictions do not depend on it
        data_nthreads
            decoding threads; 0: as in fit
        csv
            write the most probable classes to a CSV file instead of printing them
        parquet
            also write the table of --csv FILE as Parquet, with the ending .parquet
        submission
            write a submission file for Kaggle, one row per image
        submission_kind
            columns of the submission; label: id,label with the class; probability: id,label
            with the probability of one class; probabilities: id and one column per class;
            imagenet: ImageId,PredictionString
        submission_class
            class of kind probability; by default the second of two
        clip
            clip the probabilities of a submission to N ... 1 - N
        latency
            print the latency of inference, for one image and for --batch-size images
        latency_rounds
            timed calls of --latency

        """
    def call(self, **flags: Any) -> Any: ...
    def main(self, argv: Optional[Sequence[str]] = None) -> int: ...

predict: _Predict

class _Compare(ModuleType):
    def __call__(
        self,
        *,
        networks: Union[Text, Sequence[Text]] = '',
        runs: Union[Text, Sequence[Text]] = (),
        first_difference: bool = False,
        fractions: Union[str, float, Sequence[float]] = (),
        output: Text = 'comparison',
        title: Text = '',
        rounds: int = 100,
        largest_batch: int = 64,
        measure_again: bool = False,
        engine: Union[Literal['auto', 'mxnet', 'torch'], str] = 'auto',
        gpus: Union[str, int, Sequence[int]] = (),
        cpus: int = 1,
        compile: Literal['auto', 'on', 'off'] = 'auto',
        cache_dir: Text = '',
        cache_size: Text = '',
        data_val: Union[Text, Sequence[Text]] = 'data/val.rec',
        data_val_idx: Text = '',
        label_index: Optional[int] = None,
        image_shape: Union[str, int, Sequence[int]] = (3, 224, 224),
        rgb_mean: Union[str, float, Sequence[float]] = (123.68, 116.779, 103.939),
        rgb_std: Union[str, float, Sequence[float]] = (1.0, 1.0, 1.0),
        bgr: bool = False,
        val_resize: int = 0,
        val_interp: Literal['bilinear', 'area', 'bicubic', 'pil-bilinear', 'pil-bicubic'] =
            'bilinear',
        data_nthreads: int = 0,
        on_bad_record: Literal['stop', 'skip', 'zero'] = 'stop',
        data_train: Union[Text, Sequence[Text]] = 'data/train.rec',
        data_train_idx: Text = '',
        multi_label: bool = False,
        image_size_schedule: Text = '',
        shuffle_window: int = 0,
        repeated_augmentation: int = 1,
        decode: Literal['cpu', 'gpu'] = 'cpu',
        train_fraction: float = 1.0,
        minival: float = 0.0,
        folds: int = 0,
        fold: int = 0,
        sample_weights: Text = '',
        num_classes: Optional[int] = None,
        num_examples: Optional[int] = None,
        benchmark: bool = False,
        test_io: bool = False,
        random_resized_crop: bool = True,
        min_random_area: float = 0.08,
        max_random_area: float = 1.0,
        min_random_aspect_ratio: float = 0.75,
        max_random_aspect_ratio: float = 1.3333333333333333,
        random_crop: bool = False,
        random_mirror: bool = True,
        pad_size: int = 0,
        fill_value: int = 127,
        decode_scale: bool = False,
        max_random_rotate_angle: float = 0.0,
        max_random_shear_ratio: float = 0.0,
        min_random_scale: float = 1.0,
        max_random_scale: float = 1.0,
        max_random_h: float = 0.0,
        max_random_s: float = 0.0,
        max_random_l: float = 0.0,
        max_random_channel_shift: float = 0.0,
        brightness: float = 0.0,
        contrast: float = 0.0,
        saturation: float = 0.0,
        pca_noise: float = 0.0,
        auto_augment: Union[Literal['none', 'trivial', 'rand', 'three'], str] = 'none',
        rand_augment_magnitude: int = 9,
        random_erasing: float = 0.0,
        train_interp: Literal['bilinear', 'bicubic', 'area'] = 'bilinear',
        use_imagenet_data_augmentation: bool = False,
        network: Text = 'resnet',
        num_layers: Optional[int] = None,
        activation: Literal['relu', 'elu'] = 'relu',
        blur_pool: bool = False,
        stochastic_depth: float = 0.0,
        pretrained: Union[str, Tuple[Text, Union[int, Literal['best']]], None] = None,
        layer_before_fullc: Text = '',
        freeze: Text = '',
        pretrained_lr_factor: float = 1.0,
        lr_schedule: Literal['step', 'poly', 'cosine', 'triangle', 'one-cycle'] = 'step',
        lr_step_every: Optional[float] = None,
        lr_power: float = 2.0,
        lr_start: Optional[float] = None,
        lr_peak_epoch: Optional[float] = None,
        lr_final: float = 0.0,
        lr_scale_batch: int = 0,
        show_schedule: bool = False,
        find_lr: int = 0,
        find_lr_range: Union[str, float, Sequence[float]] = (1e-05, 10.0),
        mixup: float = 0.0,
        cutmix: float = 0.0,
        mixup_cutmix_switch: float = 0.5,
        config: Text = '',
        set: Union[Text, Sequence[Text]] = (),
        recipe: Text = '',
        clip_gradient: Optional[float] = None,
        clip_gradient_norm: Optional[float] = None,
        label_smoothing: float = 0.0,
        teacher: Union[str, Tuple[Text, Union[int, Literal['best']]], None] = None,
        teacher_weight: float = 0.5,
        class_weights: Text = '',
        bce_loss: bool = False,
        bce_target_threshold: float = 0.0,
        no_bias_decay: bool = False,
        accumulate: int = 1,
        sync_batch_norm: bool = False,
        checkpoint_activations: bool = False,
        ema: float = 0.0,
        ema_warmup: bool = False,
        zero_last_gamma: bool = False,
        optimizer: Literal['sgd', 'nag', 'adam', 'lbsgd', 'rmsprop', 'rmsproptf', 'rmsproptorch',
            'adagrad', 'adadelta', 'adamax', 'nadam', 'ftml', 'signum', 'lamb', 'adamw', 'lion'] =
            'sgd',
        lr: float = 0.1,
        lr_factor: float = 0.1,
        lr_step_epochs: Union[str, float, Sequence[float]] = (30.0, 60.0),
        warmup_epochs: float = 0.0,
        warmup_strategy: Literal['linear', 'power2', 'sqrt', 'lars'] = 'linear',
        mom: float = 0.9,
        wd: float = 0.0001,
        batch_size: int = 128,
        initializer: Literal['default', 'xavier', 'msra', 'orthogonal', 'normal', 'uniform', 'one',
            'zero'] = 'default',
        dtype: Literal['float32', 'tf32', 'float16', 'bfloat16'] = 'float32',
        deterministic: bool = False,
        gc_type: Literal['none', '2bit'] = 'none',
        gc_threshold: float = 0.5,
        kv_store: Text = 'device',
        num_epochs: int = 80,
        seed: int = 0,
        seeds: int = 1,
        model_prefix: Union[Text, None] = None,
        load_epoch: Optional[int] = None,
        save_period: int = 1,
        keep: int = 0,
        patience: int = 0,
        checkpoint_minutes: float = 10.0,
        save_patience: float = 1.0,
        on_nan: Literal['stop', 'rollback'] = 'stop',
        max_rollbacks: int = 3,
        disp_batches: int = 20,
        top_k: int = 0,
        loss: Union[Text, Sequence[Text]] = (),
        confusion_gif: bool = False,
        find_batch: bool = False,
        monitor: int = 0,
        tensorboard: bool = True,
        track: Union[Text, Sequence[Text]] = (),
        parquet: bool = False,
        json: bool = False,
        observers: Union[Text, Sequence[Text]] = (),
        when_done: Union[str, Sequence[str]] = (),
        show_config: bool = False,
        summary: bool = False,
    ) -> CompareResult:
        """Train networks on the same images, or take finished runs, and compare them.

        Raises InputError for what the command line refuses, and KeyboardInterrupt if a signal ended
        the comparison; trainings are saved.

        The parameters that are not listed are those of `fit`.

        Parameters
        ----------
        networks
            networks to train and compare: names separated by commas, or a text file with
            one network per line, followed by flags of fit for it alone
        runs
            finished runs to compare instead: their --model-prefix, separated by spaces or
            commas
        first_difference
            with two --runs: print the first update or checkpoint in which their numbers
            differ, and which settings differ; exit code 1 if there is one
        fractions
            train each network on these fractions of the training images, such as 0.1,0.3,1,
            and plot its accuracy over their number
        output
            folder of the runs and the report
        title
            title of the report; by default the names of the networks
        rounds
            timed calls of one image for each network and device, in ten turns; fewer than
            six give no interval
        largest_batch
            throughput is measured with batches of 1, 2, 4 and so on up to this size
        measure_again
            repeat all timings, for example after the machine was busy; trains nothing again

        """
    def call(self, **flags: Any) -> Any: ...
    def main(self, argv: Optional[Sequence[str]] = None) -> int: ...

compare: _Compare

class _Export(ModuleType):
    def __call__(
        self,
        *,
        model_prefix: Union[Text, None] = None,
        epoch: Union[int, Literal['best'], None] = None,
        cache_dir: Text = '',
        cache_size: Text = '',
        val_resize: Optional[int] = None,
        val_interp: Optional[Literal['bilinear', 'area', 'bicubic', 'pil-bilinear', 'pil-bicubic']]
            = None,
        rgb_mean: Union[str, float, Sequence[float], None] = None,
        rgb_std: Union[str, float, Sequence[float], None] = None,
        bgr: Optional[bool] = None,
        image_shape: Union[str, int, Sequence[int], None] = None,
        classes: Text = '',
        calibrated: bool = False,
        to: Union[Text, Sequence[Text]] = ('onnx', 'mxnet'),
        output: Text = '',
        preprocessing: bool = False,
        data_train: Union[Text, Sequence[Text]] = '',
        data_val: Union[Text, Sequence[Text]] = '',
        check_pictures: int = 32,
        calibration_pictures: int = 512,
        calibration: Literal['entropy', 'naive'] = 'entropy',
        batch_size: int = 32,
        data_nthreads: int = 0,
    ) -> ExportResult:
        """Write a trained network for other programs.

        Raises InputError for what the command line refuses.

        Parameters
        ----------
        model_prefix
            prefix of the run, or SageMaker's model.tar.gz; by default the newest run in
            runs/
        epoch
            epoch of the run, or best; by default the newest
        cache_dir
            folder that keeps parts of shards on an object storage (s3://, gs://, hf://,
            https://); by default imagenet-trainer/blocks in the user's cache folder
        cache_size
            most that --cache-dir may hold, such as 200GB: what was not used for the longest
            time is removed; 0: keep nothing; by default 50GB
        val_resize
            short side in pixels to which images are resized before the centre crop; 0: the
            crop's side times 256/224; by default as in training
        val_interp
            how images are resized, as in fit; by default as in training
        rgb_mean
            mean of red, green, blue (0-255), which is subtracted; by default as in
            training, needed for checkpoints of other programs
        rgb_std
            standard deviation of red, green, blue, which divides the difference; by default
            as in training, 1,1,1 for checkpoints of other programs
        bgr
            1: the network takes blue, green, red; by default as in training
        image_shape
            shape of the network's input, such as 3,288,288; by default the checkpoint's
        classes
            names of the network's outputs, in their order, for checkpoints of other
            programs: imagenet; a text file with a class per line, a JSON file or a
            manifest; the PREFIX of a run; by default the checkpoint's, or ImageNet's for
            1000 outputs
        calibrated
            1: divide the logits by the temperature that evaluate --calibrate fitted for the
            epoch
        to
            formats to write, separated by commas; onnx; mxnet: symbol and parameters
            without a label input; int8: the same in 8-bit integers, made by MXNet; torch:
            parameters for a network of torchvision or timm, or a traced program;
            safetensors: parameters with MXNet's names
        output
            prefix of the files, or a folder; by default FOLDER/export/NAME of the run
        preprocessing
            1: the ONNX model takes RGB images in uint8 (batch, height, width, 3) and
            normalises them
        data_train
            shard for the calibration of int8; by default the run's training shard, or its
            validation shard if that is missing
        data_val
            shard to check onnx and evaluate int8 on; by default the run's validation shard
        check_pictures
            images on which predictions of onnx and torch must agree with the engine's
        calibration_pictures
            images for the calibration of int8, which sets the range of each layer
        calibration
            method of calibration; entropy: least loss of information; naive: minimum and
            maximum, faster
        batch_size
            images per batch
        data_nthreads
            decoding threads; 0: one

        """
    def call(self, **flags: Any) -> Any: ...
    def main(self, argv: Optional[Sequence[str]] = None) -> int: ...

export: _Export

class _Published(ModuleType):
    def __call__(
        self,
        *,
        val_resize: Optional[int] = None,
        val_interp: Optional[Literal['bilinear', 'area', 'bicubic', 'pil-bilinear', 'pil-bicubic']]
            = None,
        rgb_mean: Union[str, float, Sequence[float], None] = None,
        rgb_std: Union[str, float, Sequence[float], None] = None,
        bgr: Optional[bool] = None,
        file: Text = '',
        name: Text = '',
        model_prefix: Union[Text, None] = None,
    ) -> PublishedResult:
        """Make a run of the checkpoint `name`, or of the one in `file`.

        Raises InputError without both, and for what the command line refuses.

        Parameters
        ----------
        val_resize
            short side in pixels to which images are resized before the centre crop; 0: the
            crop's side times 256/224; by default as in training
        val_interp
            how images are resized, as in fit; by default as in training
        rgb_mean
            mean of red, green, blue (0-255), which is subtracted; by default as in
            training, needed for checkpoints of other programs
        rgb_std
            standard deviation of red, green, blue, which divides the difference; by default
            as in training, 1,1,1 for checkpoints of other programs
        bgr
            1: the network takes blue, green, red; by default as in training
        file
            parameters of torchvision or timm (.safetensors) or of Gluon (.params), or their
            address, such as hf://timm/resnet18.tv_in1k on Hugging Face, which is fetched
            once; by default the file of NAME in Gluon's cache
        name
            name of the network, such as resnet-50, vgg16, gluoncv/resnet50_v1b or, with
            --file, torchvision/resnet50; by default the network that the file fits, or a
            table of MXNet's own
        model_prefix
            prefix of the new run; by default runs/published-NAME/model

        """
    def call(self, **flags: Any) -> Any: ...
    def main(self, argv: Optional[Sequence[str]] = None) -> int: ...

published: _Published

class _Benchmark(ModuleType):
    def __call__(
        self,
        *,
        kind: Literal['loader', 'checks', 'train', 'checkpoint', 'pack', 'picture', 'reading',
            'numbers', 'many-classes', 'evaluate', 'parity'],
        images: Optional[int] = None,
        rounds: int = 5,
        threads: int = 2,
        network: Union[Text, Sequence[Text]] = (),
        beside: int = 0,
        lock: bool = False,
        against: Union[Text, Sequence[Text]] = (),
        latency: float = 0.0,
        json: Text = '',
        keep: Text = '',
    ) -> BenchmarkResult:
        """Measure speed against other tools, and print the results.

        Raises InputError for what the command line refuses.

        Parameters
        ----------
        kind
            what to measure; or bottleneck, which is followed by flags of fit and has its
            own --help
        images
            number of images; by default 1000; 2000 for pack and loader --against, 500 for
            checks, 160 for train and evaluate, 8000 for reading (8192 with --latency),
            50000 for numbers, 500000 for many-classes
        rounds
            measured rounds; the median is printed
        threads
            threads of loader, pack and reading
        network
            parity: only these networks; by default all
        beside
            train: measure training on the CPU alone and beside N busy processes, by threads
        lock
            loader: also print for how long an image holds the interpreter lock
        against
            loader: measure it against loaders of these libraries only, also resume and
            order
        latency
            reading: from a server on this machine that answers after this time instead; 0:
            from a disk
        json
            also write the numbers to this file, by name
        keep
            picture: save the example PNG and GIF here

        """
    def bottleneck(
        self,
        *,
        engine: Union[Literal['auto', 'mxnet', 'torch'], str] = 'auto',
        gpus: Union[str, int, Sequence[int]] = (),
        cpus: int = 1,
        compile: Literal['auto', 'on', 'off'] = 'auto',
        cache_dir: Text = '',
        cache_size: Text = '',
        data_val: Union[Text, Sequence[Text]] = 'data/val.rec',
        data_val_idx: Text = '',
        label_index: Optional[int] = None,
        image_shape: Union[str, int, Sequence[int]] = (3, 224, 224),
        rgb_mean: Union[str, float, Sequence[float]] = (123.68, 116.779, 103.939),
        rgb_std: Union[str, float, Sequence[float]] = (1.0, 1.0, 1.0),
        bgr: bool = False,
        val_resize: int = 0,
        val_interp: Literal['bilinear', 'area', 'bicubic', 'pil-bilinear', 'pil-bicubic'] =
            'bilinear',
        data_nthreads: int = 0,
        on_bad_record: Literal['stop', 'skip', 'zero'] = 'stop',
        data_train: Union[Text, Sequence[Text]] = 'data/train.rec',
        data_train_idx: Text = '',
        multi_label: bool = False,
        image_size_schedule: Text = '',
        shuffle_window: int = 0,
        repeated_augmentation: int = 1,
        decode: Literal['cpu', 'gpu'] = 'cpu',
        train_fraction: float = 1.0,
        minival: float = 0.0,
        folds: int = 0,
        fold: int = 0,
        sample_weights: Text = '',
        num_classes: Optional[int] = None,
        num_examples: Optional[int] = None,
        benchmark: bool = False,
        test_io: bool = False,
        random_resized_crop: bool = True,
        min_random_area: float = 0.08,
        max_random_area: float = 1.0,
        min_random_aspect_ratio: float = 0.75,
        max_random_aspect_ratio: float = 1.3333333333333333,
        random_crop: bool = False,
        random_mirror: bool = True,
        pad_size: int = 0,
        fill_value: int = 127,
        decode_scale: bool = False,
        max_random_rotate_angle: float = 0.0,
        max_random_shear_ratio: float = 0.0,
        min_random_scale: float = 1.0,
        max_random_scale: float = 1.0,
        max_random_h: float = 0.0,
        max_random_s: float = 0.0,
        max_random_l: float = 0.0,
        max_random_channel_shift: float = 0.0,
        brightness: float = 0.0,
        contrast: float = 0.0,
        saturation: float = 0.0,
        pca_noise: float = 0.0,
        auto_augment: Union[Literal['none', 'trivial', 'rand', 'three'], str] = 'none',
        rand_augment_magnitude: int = 9,
        random_erasing: float = 0.0,
        train_interp: Literal['bilinear', 'bicubic', 'area'] = 'bilinear',
        use_imagenet_data_augmentation: bool = False,
        network: Text = 'resnet',
        num_layers: Optional[int] = None,
        activation: Literal['relu', 'elu'] = 'relu',
        blur_pool: bool = False,
        stochastic_depth: float = 0.0,
        pretrained: Union[str, Tuple[Text, Union[int, Literal['best']]], None] = None,
        layer_before_fullc: Text = '',
        freeze: Text = '',
        pretrained_lr_factor: float = 1.0,
        lr_schedule: Literal['step', 'poly', 'cosine', 'triangle', 'one-cycle'] = 'step',
        lr_step_every: Optional[float] = None,
        lr_power: float = 2.0,
        lr_start: Optional[float] = None,
        lr_peak_epoch: Optional[float] = None,
        lr_final: float = 0.0,
        lr_scale_batch: int = 0,
        show_schedule: bool = False,
        find_lr: int = 0,
        find_lr_range: Union[str, float, Sequence[float]] = (1e-05, 10.0),
        mixup: float = 0.0,
        cutmix: float = 0.0,
        mixup_cutmix_switch: float = 0.5,
        config: Text = '',
        set: Union[Text, Sequence[Text]] = (),
        recipe: Text = '',
        clip_gradient: Optional[float] = None,
        clip_gradient_norm: Optional[float] = None,
        label_smoothing: float = 0.0,
        teacher: Union[str, Tuple[Text, Union[int, Literal['best']]], None] = None,
        teacher_weight: float = 0.5,
        class_weights: Text = '',
        bce_loss: bool = False,
        bce_target_threshold: float = 0.0,
        no_bias_decay: bool = False,
        accumulate: int = 1,
        sync_batch_norm: bool = False,
        checkpoint_activations: bool = False,
        ema: float = 0.0,
        ema_warmup: bool = False,
        zero_last_gamma: bool = False,
        optimizer: Literal['sgd', 'nag', 'adam', 'lbsgd', 'rmsprop', 'rmsproptf', 'rmsproptorch',
            'adagrad', 'adadelta', 'adamax', 'nadam', 'ftml', 'signum', 'lamb', 'adamw', 'lion'] =
            'sgd',
        lr: float = 0.1,
        lr_factor: float = 0.1,
        lr_step_epochs: Union[str, float, Sequence[float]] = (30.0, 60.0),
        warmup_epochs: float = 0.0,
        warmup_strategy: Literal['linear', 'power2', 'sqrt', 'lars'] = 'linear',
        mom: float = 0.9,
        wd: float = 0.0001,
        batch_size: int = 128,
        initializer: Literal['default', 'xavier', 'msra', 'orthogonal', 'normal', 'uniform', 'one',
            'zero'] = 'default',
        dtype: Literal['float32', 'tf32', 'float16', 'bfloat16'] = 'float32',
        deterministic: bool = False,
        gc_type: Literal['none', '2bit'] = 'none',
        gc_threshold: float = 0.5,
        kv_store: Text = 'device',
        num_epochs: int = 80,
        seed: int = 0,
        seeds: int = 1,
        model_prefix: Union[Text, None] = None,
        load_epoch: Optional[int] = None,
        save_period: int = 1,
        keep: int = 0,
        patience: int = 0,
        checkpoint_minutes: float = 10.0,
        save_patience: float = 1.0,
        on_nan: Literal['stop', 'rollback'] = 'stop',
        max_rollbacks: int = 3,
        disp_batches: int = 20,
        top_k: int = 0,
        loss: Union[Text, Sequence[Text]] = (),
        confusion_gif: bool = False,
        find_batch: bool = False,
        monitor: int = 0,
        tensorboard: bool = True,
        track: Union[Text, Sequence[Text]] = (),
        parquet: bool = False,
        json: Text = '',
        observers: Union[Text, Sequence[Text]] = (),
        when_done: Union[str, Sequence[str]] = (),
        show_config: bool = False,
        summary: bool = False,
        seconds: float = 10.0,
    ) -> BottleneckResult:
        """Report where the time of a training with these flags goes, and what to change.

        Raises InputError for what the command line refuses.

        The parameters that are not listed are those of `fit`.

        Parameters
        ----------
        json
            also write the numbers to this file, by name
        seconds
            duration of each measurement

        """
    def call(self, **flags: Any) -> Any: ...
    def main(self, argv: Optional[Sequence[str]] = None) -> int: ...

benchmark: _Benchmark

class _Doctor(ModuleType):
    def __call__(
        self,
        *,
        measure: Union[Text, Sequence[Text]] = (),
        plan: Text = '',
        gpus: Union[str, int, Sequence[int]] = (1, 4, 8),
        num_epochs: int = 90,
        prices: Text = '',
        image_shape: Union[str, int, Sequence[int], None] = None,
    ) -> DoctorResult:
        """Report what is installed, which devices there are, and what to install; also print it.

        Raises InputError for what the command line refuses.

        Parameters
        ----------
        measure
            also train these networks (without a value: resnet-18) for a few seconds with
            each engine on this CPU, recommend one, and keep the figures for fit --engine
            auto
        plan
            instead print the hours, disk, memory and money of a training of this network on
            ImageNet, from published rates and those of --measure
        gpus
            with --plan: numbers of GPUs
        num_epochs
            with --plan: epochs
        prices
            with --plan: prices of machines, a CSV file like assets/prices.csv
        image_shape
            with --measure or --plan: size of the images; by default that of the network's
            publication

        """
    def call(self, **flags: Any) -> Any: ...
    def main(self, argv: Optional[Sequence[str]] = None) -> int: ...

doctor: _Doctor
