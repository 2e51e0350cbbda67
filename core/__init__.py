"""The engine of ilora-app: data, models, training and measurement. It knows no terminal."""
