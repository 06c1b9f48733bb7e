//! The parents that children are asked of: a data set's shape in, sources out.
//!
//! The network that every search starts from, and three of the kinds that searches come to: a plain convolutional
//! network, one with `nn.Sequential` and batch norm, one with a residual block of its own. Limit: square images.

use crate::search::seed_network;

const IMPORTS: &str = "import torch\nimport torch.nn as nn\nimport torch.nn.functional as F\n";

/// Two convolutions with pooling, two fully connected layers.
const PLAIN: &str = "
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(CHANNELS, 16, kernel_size=3, padding=1)
        self.conv2 = nn.Conv2d(16, 32, kernel_size=3, padding=1)
        self.pool = nn.MaxPool2d(2)
        self.fc1 = nn.Linear(32 * QUARTER * QUARTER, 64)
        self.fc2 = nn.Linear(64, CLASSES)

    def forward(self, x):
        x = self.pool(F.relu(self.conv1(x)))
        x = self.pool(F.relu(self.conv2(x)))
        x = torch.flatten(x, 1)
        x = F.relu(self.fc1(x))
        return self.fc2(x)
";

/// A `Sequential` with batch norm and dropout, pooled to one place.
const SEQUENTIAL: &str = "
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(CHANNELS, 24, 3, padding=1),
            nn.BatchNorm2d(24),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(24, 48, 3, padding=1),
            nn.BatchNorm2d(48),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
        )
        self.dropout = nn.Dropout(0.2)
        self.classifier = nn.Linear(48, CLASSES)

    def forward(self, x):
        x = self.features(x)
        x = x.view(x.size(0), -1)
        x = self.dropout(x)
        return self.classifier(x)
";

/// A helper class with a shortcut.
const RESIDUAL: &str = "
class Block(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x):
        out = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.conv2(out) + x)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(CHANNELS, 16, 3, stride=2, padding=1)
        self.block1 = Block(16)
        self.block2 = Block(16)
        self.fc = nn.Linear(16, CLASSES)

    def forward(self, x):
        x = F.relu(self.stem(x))
        x = self.block1(x)
        x = self.block2(x)
        x = F.adaptive_avg_pool2d(x, 1)
        x = torch.flatten(x, 1)
        return self.fc(x)
";

/// The parents for images of (channels, height, width).
pub(super) fn parents(input_sizes: &[usize], classes: usize) -> Vec<String> {
    let size = |at: usize| input_sizes.get(at).copied().unwrap_or(1);
    let fitted = |text: &str| {
        let text = text
            .replace("CHANNELS", &size(0).to_string())
            .replace("QUARTER", &(size(1) / 4).to_string())
            .replace("CLASSES", &classes.to_string());
        format!("{IMPORTS}\n{text}")
    };
    let mut sources = vec![seed_network(input_sizes, classes)];
    sources.extend([PLAIN, SEQUENTIAL, RESIDUAL].map(fitted));
    sources
}
