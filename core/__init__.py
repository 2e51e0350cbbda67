"""The engine of ilora-app: data, models, training and measurement. It knows no terminal."""

import logging

for chatty in ("bitsandbytes", "huggingface_hub"):  # what matters of their warnings is said as an error here
    logging.getLogger(chatty).setLevel(logging.ERROR)
